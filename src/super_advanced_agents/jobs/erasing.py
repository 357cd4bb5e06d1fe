"""Erasure of ended jobs, and of answers whose memories were forgotten or changed."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from super_advanced_agents.config import LIMITS
from super_advanced_agents.jobs.backend import JobBackend
from super_advanced_agents.jobs.job_files import JobFiles
from super_advanced_agents.jobs.sql import SQLJobBackend
from super_advanced_agents.jobs.sql.sqlite import FILE
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JobInfo, JSONValue, Match
from super_advanced_agents.types.jobs import ANSWER_KIND, KeptAnswer

CITES = "cites"
"""The member of an answer that names the memories it was made from.

It holds their namespace and, by uid, the time of the last change of each.
"""

_PAGE = 200


def delete_ended(settings: Settings, before: float) -> int:
    """Delete the jobs of a data folder that ended before a time, with all their files. Blocks.

    Args:
        settings: they name the data folder, which may have no jobs, and the folder of files.
        before: the time, in seconds since 1970.

    Returns:
        The number of jobs.

    Raises:
        StoreLockedError: another process uses it.
        StoreError: the file cannot be used.
    """
    folder = settings.data_dir / "jobs"
    return asyncio.run(_delete(folder, JobFiles.of(settings), before)) if (folder / FILE).is_file() else 0


async def _delete(folder: Path, files: JobFiles, before: float) -> int:
    backend, deleted = SQLJobBackend(folder), 0
    await backend.aopen()
    try:
        kept_s = max(0.0, time.time() - before)
        await files.adelete_unneeded(backend, failed_s=kept_s)
        while some := await backend.asweep(succeeded_s=kept_s, failed_s=kept_s):
            deleted += some
    finally:
        await backend.aclose()
    return deleted


def cites(namespace: str, sources: Iterable[Match]) -> dict[str, JSONValue]:
    """Return what an answer cites, for its member `CITES`."""
    return {"namespace": namespace, "memories": {source.uid: source.updated_at for source in sources}}


def with_memory(cited: JSONValue, uid: str) -> JSONValue:
    """Return what an answer cites, with the memory that the answer itself became."""
    if not isinstance(cited, dict) or not isinstance(cited.get("memories"), dict):
        return cited
    return {**cited, "memories": {**_memories_of(cited), uid: None}}


async def aread(backend: JobBackend, runtime: Runtime | None, tenant: str, job_id: str) -> JobInfo | None:
    """Return a job of a tenant, without the text of its answer if a cited memory was forgotten.

    Raises:
        SuperAdvancedAgentsError: the store cannot be read.
    """
    info = await backend.aget(tenant, job_id)
    if info is None or runtime is None or info.kind != ANSWER_KIND or info.result is None:
        return info
    answer = KeptAnswer(job=info.id, tenant=tenant, claim=0, value=info.result)
    return replace(info, result=_without_text(info.result)) if await _forgotten(runtime, [answer]) else info


async def aerase_forgotten(backend: JobBackend, runtime: Runtime) -> int:
    """Erase the text of all kept answers whose memories were forgotten; return their number.

    A job that has not succeeded forgets its finished steps, and asks anew if it is tried again.

    Raises:
        SuperAdvancedAgentsError: the store or the database of jobs cannot be reached.
    """
    erased, after = 0, ""
    while answers := await backend.akept_answers(after, _PAGE):
        for answer in await _forgotten(runtime, answers):
            erased += await backend.areplace_answer(answer, orjson.dumps(_without_text(answer.value)))
        after = answers[-1].job
    return erased


def _without_text(value: JSONValue) -> JSONValue:
    assert isinstance(value, dict)
    return {**value, "text": None, CITES: None, "forgotten": True}


async def _forgotten(runtime: Runtime, answers: Sequence[KeptAnswer]) -> list[KeptAnswer]:
    # Returns the answers of which a cited memory is no longer stored as it was.
    cited: dict[tuple[str, str], set[str]] = defaultdict(set)
    for answer in answers:
        for namespace, uids in _cited_by(answer.value).items():
            cited[answer.tenant, namespace].update(uids)
    changed = {place: await _times(runtime, *place, sorted(uids)) for place, uids in cited.items()}
    return [
        answer
        for answer in answers
        if any(
            uid not in changed[answer.tenant, namespace] or at not in (None, changed[answer.tenant, namespace][uid])
            for namespace, memories in _cited_by(answer.value).items()
            for uid, at in memories.items()
        )
    ]


async def _times(runtime: Runtime, tenant: str, namespace: str, uids: Sequence[str]) -> dict[str, float]:
    # Returns the times of the last changes of those that are stored.
    found: dict[str, float] = {}
    store = runtime.memories(tenant)
    for start in range(0, len(uids), LIMITS.batch_records):
        batch = uids[start : start + LIMITS.batch_records]
        found |= {record.uid: record.updated_at for record in await store.aget(batch, namespace=namespace)}
    return found


def _cited_by(value: JSONValue) -> Mapping[str, Mapping[str, JSONValue]]:
    cited = value.get(CITES) if isinstance(value, dict) else None
    if not isinstance(cited, dict) or not isinstance(namespace := cited.get("namespace"), str):
        return {}
    return {namespace: _memories_of(cited)}


def _memories_of(cited: Mapping[str, JSONValue]) -> Mapping[str, JSONValue]:
    memories = cited.get("memories")
    return memories if isinstance(memories, dict) else {}
