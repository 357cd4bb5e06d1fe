"""Jobs that maintain stores: re-embedding, the check of files, and the probe of recall."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import COLLECTIONS_FOLDER, SERVER_FOLDER, STORE_DATABASE, STORE_FOLDER
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, InvalidInputError
from super_advanced_agents.jobs.context import JobContext
from super_advanced_agents.jobs.kinds import job
from super_advanced_agents.models import MODELS
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.local.maintenance import LocalStore
from super_advanced_agents.telemetry import counter
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models
from super_advanced_agents.types import JSONValue, Matrix, Vector

BULK = "bulk"
"""The queue of jobs that keep a core busy."""

_PAGE = 1_000
_MAX_SAMPLE = 1_000
_FOUND = counter("recall_probe_neighbours", outcome="found")
_MISSED = counter("recall_probe_neighbours", outcome="missed")


@job(queue=BULK, timeout_s=7 * 86_400.0, key="*", operator=True)
async def reembed(
    context: JobContext,
    model: str,
    precision: Literal["int8", "fp32"] = "int8",
    drop_bare: bool = False,
) -> dict[str, JSONValue]:
    """Embed all memories of all tenants with another model, beside reads and writes.

    The store switches to the new vectors in one step, and the process to the new model with it. Each page of new
    vectors is durable, so that an interrupted job goes on from there.

    Args:
        context: the job.
        model: a known embedding model; files and addresses of models are the operator's to name.
        precision: its weights.
        drop_bare: delete records without text, which cannot be embedded.
    """
    runtime = context.runtime
    store = runtime.store
    if not isinstance(store, LocalStore):
        raise ConfigurationError("the memories are in a store of another kind", hint="re-embed them with its own tools")
    if model not in MODELS or MODELS[model].kind != "embedding":
        raise InvalidInputError(f"{model!r} is no known embedding model", field="model", hint="see `saa pull --help`")
    chosen = runtime.settings.model_copy(
        update={"embedding_model": model, "embedding_precision": precision, "embedding_base_url": None}
    )
    await context.progress(0, note="loads the model")
    await in_thread(partial(fetch_models, chosen, embedding=True), name="pull")
    pipeline = embedding_pipeline(chosen)
    try:
        async with context.reporting("embeds memories") as report:
            done = await store.areembed(pipeline, drop_bare=drop_bare, on_progress=report)
        runtime.use_pipeline(pipeline)
    except BaseException:
        await pipeline.aclose()
        raise
    return {"records": done.records, "embedded": done.embedded, "dropped": done.dropped, "model_id": done.model_id}


@job(queue=BULK, operator=True)
async def check_integrity(context: JobContext) -> dict[str, JSONValue]:
    """Check every database of the data folder page by page, while it is used.

    A damaged one fails the job, which names it by its place in the data folder.
    """
    data_dir = context.runtime.settings.data_dir
    files = await in_thread(lambda: [file for name in _DATABASES for file in sorted(data_dir.glob(name))], name="list")
    for number, file in enumerate(files):
        name = file.relative_to(data_dir).as_posix()
        await context.progress(number, len(files), "checks databases")
        problem = await context.step(name, _check, file)
        if problem:
            raise CorruptStoreError(
                f"the database {name} is damaged", hint="restore a backup; `saa doctor` has details"
            )
    return {"databases": len(files)}


_DATABASES = (
    f"{STORE_FOLDER}/{STORE_DATABASE}",
    f"{SERVER_FOLDER}/*.db",
    "jobs/jobs.db",
    f"{COLLECTIONS_FOLDER}/*/{STORE_DATABASE}",
)


async def _check(file: Path) -> str:
    def check() -> str:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
                [(first,)] = connection.execute("PRAGMA quick_check(1)")
                return "" if first == "ok" else "damaged"
        except sqlite3.Error as exc:
            return "" if not file.exists() else type(exc).__name__

    return await in_thread(check, name="check database")


@job(queue=BULK)
async def probe_recall(
    context: JobContext, agent: str | None = None, sample: int = 100, top_k: int = 10
) -> dict[str, JSONValue]:
    """Compare the index with exact search on a sample of an agent's memories.

    The recall is the part of the true nearest neighbours that the index finds.

    Args:
        context: the job.
        agent: the agent; the default one when None.
        sample: the number of memories whose vectors are searched for, 1 to 1,000.
        top_k: the number of neighbours, 1 to 100.
    """
    context.require(Access.READ)
    if not 1 <= sample <= _MAX_SAMPLE or not 1 <= top_k <= 100:
        raise InvalidInputError("sample must be from 1 to 1000, and top_k from 1 to 100", field="sample")
    workspace = context.workspace
    found = workspace.default_agent if agent is None else workspace.agent(agent)
    store, namespace = found.vector_store, found.namespace
    total = await store.acount(namespace=namespace)
    queries = await _sample(store, namespace, max(1, total // sample), sample)
    if not len(queries):
        return {"recall": None, "sample": 0, "records": total}
    exact, scores = np.full((len(queries), 0), "", dtype=object), np.zeros((len(queries), 0), dtype=np.float32)
    done, after = 0, None
    while page := await store.ascan(namespace=namespace, after=after, limit=_PAGE):
        vectors = np.stack([record.vector for record in page])
        uids = np.array([record.uid for record in page], dtype=object)
        exact, scores = await in_thread(
            partial(_merge, queries, exact, scores, uids, vectors, top_k=top_k), name="exact search"
        )
        after, done = page[-1].uid, done + len(page)
        await context.progress(done, total, "searches exactly")
    hits = wanted = 0
    for query, uids in zip(queries, exact, strict=True):
        matches = await store.asearch(query, top_k, namespace=namespace)
        hits += len({match.uid for match in matches} & set(uids))
        wanted += len(uids)
    _FOUND.add(hits)
    _MISSED.add(wanted - hits)
    return {"recall": hits / wanted if wanted else None, "sample": len(queries), "top_k": top_k, "records": done}


async def _sample(store: VectorStore, namespace: str | None, stride: int, n: int) -> Matrix:
    vectors: list[Vector] = []
    seen, after = 0, None
    while len(vectors) < n and (page := await store.ascan(namespace=namespace, after=after, limit=_PAGE)):
        vectors += [record.vector for i, record in enumerate(page, seen) if i % stride == 0]
        seen, after = seen + len(page), page[-1].uid
    return np.stack(vectors[:n]) if vectors else np.zeros((0, 0), dtype=np.float32)


def _merge(
    queries: Matrix, exact: np.ndarray, scores: Matrix, uids: np.ndarray, vectors: Matrix, *, top_k: int
) -> tuple[np.ndarray, Matrix]:
    names = np.hstack([exact, np.broadcast_to(uids, (len(queries), len(uids)))])
    values = np.hstack([scores, queries @ vectors.T])
    best = np.argsort(-values, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(names, best, 1), np.take_along_axis(values, best, 1)
