"""Export of what a key may read at a server, to a file of the format of `saa export`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.cli.at_server.settings_of import agent_item, collection_item
from super_advanced_agents.cli.waiting import wait_for_server
from super_advanced_agents.client import DistributedVectorStore, RemoteAgent
from super_advanced_agents.client.remote_tenant import RemoteTenant
from super_advanced_agents.errors import InvalidInputError, StoreError
from super_advanced_agents.stores.transfer.exporting import ExportFile
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, Part
from super_advanced_agents.tenancy.data_folder.exporting import Exported
from super_advanced_agents.types import AgentInfo, Record, Where

_PAGE = 500
_LISTED = 1_000
"""The agents without settings that a server names at most."""


def export_server(
    url: str,
    api_key: str | None,
    target: Path | IO[bytes],
    *,
    file_format: FileFormat | None = None,
    agent: str | None = None,
    where: Where | None = None,
    vectors: bool = True,
    on_records: Callable[[int], None] | None = None,
) -> Exported:
    """Export the memories, settings and collections of a key's tenant to a file. Blocks.

    Some hundred records are in memory at a time, and the uids of turns. In the file, the records are those of the
    default tenant, since a server does not tell the tenant's name. It does not tell the positions of turns either:
    those of an imported file stand in its order, others in the order in which they were stored.

    Args:
        url: the server's URL.
        api_key: the key; it needs the scope `memories:read`.
        target: the path of the file, which appears under its name once it is complete; or an open binary file.
        file_format: `"jsonl"` or `"parquet"`; chosen by the suffix of `target` when None.
        agent: the only agent to export, without collections; all of them when None.
        where: a filter over metadata; all records when None.
        vectors: False leaves the vectors out, and the collections, which cannot be imported without.
        on_records: called after each page with the number of records written so far.

    Raises:
        StoreError: the server has no memories, or the file cannot be written.
    """
    wait_for_server(url)
    with ExitStack() as stack:
        tenant = stack.enter_context(RemoteTenant(url, api_key=api_key))
        agents = _Agents(run_sync(tenant.aagents()), agent)
        clients = {
            namespace: stack.enter_context(RemoteAgent(url, name, api_key=api_key))
            for namespace, name in agents.readers.items()
        }
        header = Header(
            dim=_dim(clients.values()),
            metric=None,
            vectors=vectors,
            namespace=None if agent is None else next(iter(clients)),
            created_at=time.time(),
        )
        collections = [] if agent is not None else run_sync(tenant.acollections())
        counts = Exported(agents=len(agents.with_settings))
        if not vectors:
            counts.without_vectors, collections = len(collections), []

        def write(records: list[Record], part: Part) -> None:
            file.write(records, part)
            counts.records += len(records)
            if on_records is not None:
                on_records(counts.records)

        file = ExportFile(target, file_format, header)
        with file.writing():
            for info in agents.with_settings:
                file.add_item(agent_item(info))
            for namespace, client in clients.items():
                for page in _memories(client, namespace, where, vectors=vectors):
                    write(page, Part())
            for collection in collections:
                file.add_item(collection_item(collection))
                with DistributedVectorStore(url, collection.name, api_key=api_key, timeout_s=60.0) as store:
                    for page in _records(store, where):
                        write(page, Part(collection=collection.name))
                counts.collections += 1
        return counts


class _Agents:
    # The agents to export: those with settings, and one reader of each namespace.

    def __init__(self, listed: list[AgentInfo], only: str | None) -> None:
        if only is None and sum(info.updated_at is None for info in listed) >= _LISTED:
            raise InvalidInputError(
                f"the server names {_LISTED:,} agents at most, and may have more",
                field="--agent",
                hint="export each agent by its name",
            )
        namespaces = {info.name: info.namespace for info in listed}
        names = sorted(namespaces) if only is None else [only]
        self.readers: dict[str, str] = {}
        for name in names:
            self.readers.setdefault(namespaces.get(name, name), name)
        self.with_settings = [
            info
            for info in listed
            if info.updated_at is not None and not info.declared and info.namespace in self.readers
        ]


def _dim(agents: Iterable[RemoteAgent]) -> int:
    for agent in agents:
        for record in agent.scan(limit=1, with_vectors=True):
            return len(record.vector)
    raise StoreError("the server has no memories that this key may read", hint="check SAA_API_KEY, or begin: saa add")


def _memories(agent: RemoteAgent, namespace: str, where: Where | None, *, vectors: bool) -> Iterator[list[Record]]:
    places = _places(agent, where)
    after: str | None = None
    while page := agent.scan(where, after=after, limit=_PAGE, with_vectors=vectors):
        yield [replace(record, namespace=namespace, place=places.get(record.uid)) for record in page]
        after = page[-1].uid


def _places(agent: RemoteAgent, where: Where | None) -> dict[str, int]:
    # Positions of turns in their sessions, by uid.
    of_turn: Where = {"$session": {"$exists": True}}
    condition: Where = of_turn if where is None else {"$and": [where, of_turn]}
    sessions: dict[str, list[tuple[str, float, int, str]]] = defaultdict(list)
    begun: dict[tuple[str, str], float] = {}
    after: str | None = None
    while page := agent.scan(condition, after=after, limit=1_000):
        for record in page:
            file_id, turn = record.metadata.get("file_id"), record.metadata.get("turn")
            file = file_id if isinstance(file_id, str) else ""
            session = record.session or ""
            key = session, file
            begun[key] = min(begun.get(key, record.created_at), record.created_at)
            sessions[session].append((file, record.created_at, turn if isinstance(turn, int) else 0, record.uid))
        after = page[-1].uid
    places: dict[str, int] = {}
    for session, turns in sessions.items():
        # The turns of a file follow each other as they do there, even if some were put in later.
        turns.sort(key=lambda each: (begun[session, each[0]] if each[0] else each[1], each[2], each[3]))
        for _, _, _, uid in turns:
            places[uid] = len(places) + 1
    return places


def _records(store: DistributedVectorStore, where: Where | None) -> Iterator[list[Record]]:
    after: str | None = None
    while page := store.scan(where, after=after, limit=_PAGE):
        yield page
        after = page[-1].uid
