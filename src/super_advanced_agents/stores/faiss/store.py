"""`FAISSVectorStore`: an embedded store, exact while small, with graphs when it grows, durable when given a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.tickets import driven_by_thread
from super_advanced_agents.config import Limits, checked_text
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.stores.base import FilterFn
from super_advanced_agents.stores.faiss.arena import Memory
from super_advanced_agents.stores.faiss.building import Builder
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.intake import Intake
from super_advanced_agents.stores.faiss.keywords import Keywords
from super_advanced_agents.stores.faiss.policy import SealPolicy
from super_advanced_agents.stores.faiss.reading import Reading
from super_advanced_agents.stores.faiss.requests import Publication, Search, Write
from super_advanced_agents.stores.faiss.rows import Rows
from super_advanced_agents.stores.faiss.sealing import Sealer
from super_advanced_agents.stores.faiss.searching import Searching
from super_advanced_agents.stores.faiss.slow_filters import SlowFilters
from super_advanced_agents.stores.faiss.snapshot import Snapshots
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.sweeping import Sweeper
from super_advanced_agents.stores.faiss.upkeep import UpkeepOperations
from super_advanced_agents.stores.faiss.write_operations import WriteOperations, write_cost
from super_advanced_agents.stores.faiss.writing import Writing
from super_advanced_agents.stores.folder import StoreFolder
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.stores.validation import checked_model_id, checked_predicate, checked_uid, checked_weights
from super_advanced_agents.types import JSONValue, Match, Record, Weights, Where

_COMMIT_RECORDS = 4_000
_SEARCHES_TOGETHER = 256
_WORD_SEARCHES_TOGETHER = 16
"""A search by words shares less work than one by vector: smaller batches let its callers go on embedding meanwhile."""
_MAX_QUEUED_READS = 8_192
_MAX_QUEUED_BATCHES = 64


class FAISSVectorStore(WriteOperations, UpkeepOperations):
    """Vectors and their metadata in one process: rows in SQLite are the truth, FAISS indexes are derived from them.

    Args:
        dim: the length of every vector, 1 to 65,536.
        path: a folder, made when missing and owned by this object until it is closed; in memory when None.
        index: `"flat"` compares with every vector, exactly; `"hnsw"` seals full buffers of `buffer_rows` vectors into
            graphs, and `"ivf"` into inverted files, which are built faster and searched slower; `"auto"` is exact up to
            16,384 vectors and seals graphs beyond. It may differ from one opening to the next.
        metric: `"cosine"` (scores in [-1, 1]), or `"dot"` for vectors whose length means something.
        storage: what sealed vectors take in memory: `"fp32"` four bytes a number, `"fp16"` two, `"sq8"` one. A search
            weighs the best of shortened vectors again by the table's own.
        limits: how large one call may be.
        buffer_rows: vectors that are gathered before they can become a graph, 16 to 65,536.
        max_queued_records: writes waiting beyond this raise `OverloadedError`.

    Raises:
        StoreLockedError: another object or process owns the folder.
        ConfigurationError: an argument is wrong, or the folder's store was made with another `dim` or `metric`.
        StoreError: the folder cannot be written.

    The vectors of an existing store are read at first use, in a worker thread. A write is acknowledged after its
    transaction was committed with `synchronous=FULL`.
    """

    def __init__(
        self,
        dim: int,
        path: str | os.PathLike[str] | None = None,
        *,
        index: IndexKind = "auto",
        metric: Metric = "cosine",
        storage: Storage = "fp32",
        limits: Limits | None = None,
        buffer_rows: int = 4_096,
        max_queued_records: int = 20_000,
    ) -> None:
        if type(dim) is not int or not 1 <= dim <= 65_536:
            raise ConfigurationError(f"dim must be an integer from 1 to 65536, not {dim!r}")
        if index not in get_args(IndexKind):
            raise ConfigurationError(f"index must be one of {', '.join(get_args(IndexKind))}, not {index!r}")
        if metric not in get_args(Metric):
            raise ConfigurationError(f"metric must be one of {', '.join(get_args(Metric))}, not {metric!r}")
        if storage not in get_args(Storage):
            raise ConfigurationError(f"storage must be one of {', '.join(get_args(Storage))}, not {storage!r}")
        if type(buffer_rows) is not int or not 16 <= buffer_rows <= 65_536:
            raise ConfigurationError(f"buffer_rows must be an integer from 16 to 65536, not {buffer_rows!r}")
        self._dim, self._metric, self._index_kind = dim, metric, index
        self._limits = limits or Limits()
        self._folder = None if path is None else StoreFolder(path)
        folder = None if self._folder is None else self._folder.path
        try:
            self._rows = Rows(folder, {"dim": str(dim), "metric": metric})
        except BaseException:
            if self._folder is not None:
                self._folder.release()
            raise
        super().__init__()
        self._intake = Intake(dim, metric, self._limits)
        unit = metric == "cosine"
        policy, memory = SealPolicy.of(index, storage, buffer_rows), Memory(dim)
        self._index = Index(self._rows, memory, unit=unit, buffer_rows=buffer_rows, seals=policy.begin is not None)
        shape: dict[str, str | int] = {"dim": dim, "kind": "ivf" if index == "ivf" else "hnsw", "storage": storage}
        snapshots = None if folder is None or index == "flat" else Snapshots(folder, self._rows, shape)
        self._sealer = Sealer(self._index, policy, Builder(index, storage, memory), snapshots, publish=self._publish)
        self._keywords = Keywords(self._rows, self._index.links, folder)
        state = State(self._rows, self._index, self._keywords, self._load)
        self._reading = Reading(state)
        self._slow_filters = SlowFilters(state)
        self._searching = Searching(state, unit=unit)
        self._writer: MicroBatcher[Write, object] = MicroBatcher(
            Writing(state).write, name="store writer", cost=write_cost,
            max_batch_cost=_COMMIT_RECORDS, max_queue_cost=max_queued_records,
        )  # fmt: skip
        self._searcher: MicroBatcher[Search, list[list[Match]]] = MicroBatcher(
            self._searching.search, name="store searcher", cost=_search_cost,
            max_batch_cost=_SEARCHES_TOGETHER, max_queue_cost=_MAX_QUEUED_READS,
        )  # fmt: skip
        # Apart, so that no search by vector waits for one that has to index words first.
        self._word_searcher: MicroBatcher[Search, list[list[Match]]] = MicroBatcher(
            self._searching.search, name="store searcher", max_batch_cost=_WORD_SEARCHES_TOGETHER,
            max_queue_cost=_MAX_QUEUED_READS,
        )  # fmt: skip
        self._sweeper = Sweeper(self._index, self._writer.submit)
        self._readers = Workers(name="store reader", threads=2, max_queue=_MAX_QUEUED_READS)
        self._checkers = Workers(name="store intake", threads=1, max_queue=_MAX_QUEUED_BATCHES)

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    @property
    def limits(self) -> Limits:
        """How large one call may be."""
        return self._limits

    def version(self, namespace: str | None = None) -> int | None:
        """See `VectorStore.version`."""
        self._check_open()
        scope = self._intake.scope(namespace)
        return self._index.versions.of(None if scope is None else self._rows.scope_id(scope) or 0)

    async def asearch_batch(
        self,
        query_vectors: ArrayLike | Sequence[ArrayLike],
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        return_scores: bool = True,
    ) -> list[list[Match]]:
        """See `VectorStore.asearch_batch`. Concurrent callers of equal namespace and filter share one pass."""
        self._check_open()
        queries = self._intake.queries(query_vectors, "query_vectors")
        search = self._intake.search(queries, top_k, where, namespace, return_scores)
        if not len(queries):
            return []
        await self._check_model(search, model_id)
        self._reading.searched.add("vector")
        submit = self._searcher.run_here if driven_by_thread() else self._searcher.submit
        return await self._slow_filters.submit(search.scope, search.tree, partial(submit, search))

    async def asearch_hybrid(
        self,
        query_vector: ArrayLike,
        query_text: str,
        top_k: int = 5,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
        weights: Weights | None = None,
        explain: bool = False,
    ) -> list[Match]:
        """See `VectorStore.asearch_hybrid`."""
        self._check_open()
        search = self._intake.search(
            self._intake.queries([query_vector], "query_vector"), top_k, where, namespace, True
        )
        text = checked_text(query_text, "query_text", max_bytes=self._limits.text_bytes)
        await self._check_model(search, model_id)
        self._reading.searched.add("hybrid")
        search = replace(search, text=text, weights=checked_weights(weights), explain=explain)
        submit = partial(self._word_searcher.submit, search)
        [matches] = await self._slow_filters.submit(search.scope, search.tree, submit)
        return matches

    async def asearch_keywords(
        self, query_text: str, top_k: int = 5, *, where: Where | None = None, namespace: str | None = None
    ) -> list[Match]:
        """See `VectorStore.asearch_keywords`."""
        self._check_open()
        search = self._intake.search(np.empty((0, self._dim), np.float32), top_k, where, namespace, True)
        text = checked_text(query_text, "query_text", max_bytes=self._limits.text_bytes)
        self._reading.searched.add("keyword")
        submit = partial(self._word_searcher.submit, replace(search, text=text))
        [matches] = await self._slow_filters.submit(search.scope, search.tree, submit)
        return matches

    async def asearch_with_filter(
        self,
        query_vector: ArrayLike,
        top_k: int,
        filter_fn: FilterFn,
        *,
        where: Where | None = None,
        namespace: str | None = None,
        model_id: str | None = None,
    ) -> list[Match]:
        """See `VectorStore.asearch_with_filter`."""
        self._check_open()
        checked_predicate(filter_fn)
        search = self._intake.search(
            self._intake.queries([query_vector], "query_vector"), top_k, where, namespace, True
        )
        await self._check_model(search, model_id)
        self._reading.searched.add("predicate")
        work = partial(self._searching.search_with_predicate, search, filter_fn)
        return await self._slow_filters.submit(search.scope, search.tree, partial(self._readers.submit, work))

    async def _check_model(self, search: Search, model_id: str | None) -> None:
        """Refuse to compare vectors of two models."""
        if self._rows.differs(search.scope, checked_model_id(model_id)):  # perhaps none of that model is left
            await self._readers.submit(partial(self._reading.check_model, search.scope, model_id))

    async def aget(self, uids: Sequence[str], *, namespace: str | None = None) -> list[Record]:
        """See `VectorStore.aget`."""
        self._check_open()
        names = self._intake.uids(uids)
        return await self._readers.submit(partial(self._reading.get, names, self._intake.scope(namespace)))

    async def acount(self, where: Where | None = None, *, namespace: str | None = None) -> int:
        """See `VectorStore.acount`."""
        self._check_open()
        scope, tree = self._intake.scope(namespace), self._intake.tree(where)
        work = partial(self._reading.count, scope, tree)
        return await self._slow_filters.submit(scope, tree, partial(self._readers.submit, work))

    async def ascan(
        self,
        where: Where | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        namespace: str | None = None,
    ) -> list[Record]:
        """See `VectorStore.ascan`."""
        self._check_open()
        scope, tree = self._intake.scope(namespace), self._intake.tree(where)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= self._limits.batch_records:
            raise InvalidInputError(
                f"limit must be an integer from 1 to {self._limits.batch_records}, not {limit!r}", field="limit"
            )
        start = "" if after is None else checked_uid(after, field="after", limits=self._limits)
        work = partial(self._reading.scan, scope, tree, start, limit)
        return await self._slow_filters.submit(scope, tree, partial(self._readers.submit, work))

    async def astats(self) -> dict[str, JSONValue]:
        """Counters and sizes, cheap enough to be asked for every second.

        What is there: `records`, `rows` (with those that have expired and are not deleted yet, which are `expired`),
        `sealing` (whether segments are being built), `namespaces`, `models` (of how many namespaces
        each embedding model made the vectors), `segments`, `tail_rows`,
        `size_bytes` and `log_bytes` on disk, `oldest_write_at` and `newest_write_at` (of the rows that are there,
        seconds since the epoch). What was done since opening: `commits`, `added`, `replaced` of them, `updated`,
        `deduplicated` (not added), `deleted`, `swept`, `searches` and `searches_by_mode`.
        """
        self._check_open()
        stats: dict[str, JSONValue] = {
            "engine": "faiss",
            "dim": self._dim,
            "metric": self._metric,
            "index": self._index_kind,
            "path": None if self._folder is None else str(self._folder.path),
            "sealing": self._sealer.busy,
        }
        return {**stats, **await self._readers.submit(self._reading.stats)}

    def _load(self) -> None:
        self._sealer.load()
        self._sweeper.wake()

    def _publish(self, change: Publication) -> None:
        """Let the writer thread carry out a change of the view, between two commits."""
        self._writer.submit(change).wait()

    def _release(self) -> None:
        """Finish what was accepted, stop sealing, then let go of files and folder."""
        with ExitStack() as stack:  # what comes after one that fails is closed all the same
            if self._folder is not None:
                stack.callback(self._folder.release)
            stack.callback(self._rows.close)
            stack.callback(self._keywords.close)
            stack.callback(self._readers.close)
            stack.callback(self._backups.close)
            stack.callback(self._word_searcher.close)
            stack.callback(self._searcher.close)
            stack.callback(self._writer.close)
            stack.callback(self._sealer.close)
            stack.callback(self._sweeper.close)
            stack.callback(self._checkers.close)
            stack.callback(self._slow_filters.close)


def _search_cost(search: Search) -> int:
    return len(search.queries)
