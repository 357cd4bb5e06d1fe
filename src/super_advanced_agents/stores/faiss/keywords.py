"""Words: BM25 over texts and over their windows (a turn with its neighbours).

Derived from rows like everything else in memory: it follows when a search asks, so that a write never waits for it and
a search sees every acknowledged write. The newest rows are weighed in memory; when they have become many, they go into
an index on disk, which is kept between openings of the store.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.attributes import array_of, bitmap
from super_advanced_agents.stores.faiss.kept_words import Kept, KeptWords, stamp
from super_advanced_agents.stores.faiss.links import Links
from super_advanced_agents.stores.faiss.rows import Rows
from super_advanced_agents.stores.faiss.view import View
from super_advanced_agents.stores.faiss.word_index import WordIndex
from super_advanced_agents.stores.faiss.word_tail import WordTail, rarity
from super_advanced_agents.stores.faiss.words import FIELDS, Entry, words
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

TAIL_ROWS = 512
"""Rows weighed in memory before they go to disk together."""
_WORTH_A_COMMIT = 64
"""When the store is closed, so many rows in memory cost the next opening less than a commit costs this one."""
_WORTH_KEEPING = 5_000
"""So many rows indexed at once are kept at once: a process that is killed loses no more work than that."""
_MAX_WORDS = 48
_FEW = 512
"""Up to this many candidates are named in the query; beyond, hits are looked up among them."""
_SPARE = 16
_PAGE = 1_000
_COMPARED = 16
_HOME_PREFIX = "words-"

Ranking = tuple[NDArray[np.uint32], NDArray[np.float32]]
"""Rows (n,) and scores (n,), best first."""

_NOTHING: Ranking = (np.empty(0, np.uint32), np.empty(0, np.float32))


class Keywords:
    """The words of one store; safe from any thread, used by one at a time."""

    def __init__(self, rows: Rows, links: Links, folder: Path | None) -> None:
        self._rows = rows
        self._links = links
        self._folder = folder
        self._kept = None if folder is None else KeptWords(folder, rows.identity)
        self._on_disk = True
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._opened = False
        self._index: WordIndex | None = None
        self._tail = WordTail()
        self._indexed = BitMap()  # what went to disk, rows without a text too
        self._made_from = np.zeros((3, 0), np.uint32)  # of each of these rows: its neighbours then, its text's stamp
        self._unkept = 0
        self._followed: View | None = None

    def search(
        self, view: View, texts: Sequence[str], scope: int | None, candidates: BitMap, k: int
    ) -> list[Ranking]:
        """For each text the k candidates that share the most telling words with it, best first, with BM25 scores.

        Every word counts by itself; nothing in a text is syntax. Fewer than k where fewer share a word.
        """
        if not candidates:
            return [_NOTHING] * len(texts)
        with self._lock:
            try:
                self._follow(view)
                on_disk = candidates if not self._tail.rows else candidates - self._tail.rows
                named = array_of(on_disk).tolist() if len(on_disk) <= _FEW else None
                return [self._ranked(text, scope, candidates, named, k) for text in texts]
            except (ValueError, OSError) as exc:  # how the library tells of a full or failing disk
                if not self._on_disk:
                    raise
                # Reads go on while writes wait for room, so what is derived moves into memory.
                _log.warning("store.words_in_memory", extra={"reason": str(exc)[:200]})
                self._discard()
                self._on_disk, self._kept = False, None
            except BaseException:
                self._discard()  # half of the rows may be in it, and would be added again
                raise
        return self.search(view, texts, scope, candidates, k)

    def close(self) -> None:
        """Keep the index for the next opening, and let go of it."""
        with self._lock:
            try:
                if self._opened and self._followed is not None:
                    self._put_away(self._followed)
            except (ValueError, OSError) as exc:
                _log.warning("store.words_not_kept", extra={"reason": str(exc)[:200]})
            self._discard()

    # -- searching ------------------------------------------------------------------------------------------------

    def _ranked(self, text: str, scope: int | None, candidates: BitMap, named: list[int] | None, k: int) -> Ranking:
        asked = list(dict.fromkeys(words(text)))
        if not asked:
            return _NOTHING
        found = self._on_disk_best(asked, scope, candidates, named, k)
        if self._tail.rows:
            averages = self._averages()
            telling = {
                (field, word): weight * rarity(self._count, self._frequency(field, word))
                for word in asked
                for field, weight in FIELDS.items()
            }
            found += [(score, row) for row, score in self._tail.scores(telling, averages, candidates).items()]
        if not found:
            return _NOTHING
        scores = np.array([score for score, _ in found], dtype=np.float32)
        rows = np.array([row for _, row in found], dtype=np.uint32)
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]
