"""One flush of buffered rows to the keyword index on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents.stores.faiss.keywords.entry import Entry
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex
from super_advanced_agents.stores.faiss.metadata.columns import array_of


@dataclasses.dataclass(slots=True, eq=False)
class Flush:
    """Hold the state of one flush, which writes buffered rows to the keyword index on disk.

    Attributes:
        index: the index on disk.
        added: the rows to add, those without a text too.
        removed: the rows to remove first.
        entries: yields the rows to add with their entries.
        changed_meanwhile: rows that changed again meanwhile, and stay in the buffer.
        future: the flush in the background; None when the caller's thread executes it.
    """

    index: PostingsIndex
    added: BitMap
    removed: BitMap
    entries: Callable[[], Iterator[tuple[int, Entry | None]]]
    changed_meanwhile: BitMap = dataclasses.field(default_factory=BitMap)
    future: Future[None] | None = None

    def execute(self) -> None:
        """Remove and add the rows, and commit; a search sees them after `refresh`."""
        self.index.remove(array_of(self.removed).tolist())
        self.index.add(entry for _, entry in self.entries() if entry is not None)
        self.index.commit()
        self.index.wait_for_merges()  # which ends seven threads; starting them for the next flush takes 1 ms
