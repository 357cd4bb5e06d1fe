"""Restoration of `saa export` files at a server, through the operations that a key allows."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby, pairwise

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.cli.at_server.settings_of import agent_settings, collection_settings
from super_advanced_agents.cli.waiting import wait_for_server
from super_advanced_agents.client import DistributedVectorStore, RemoteAgent
from super_advanced_agents.client.remote_tenant import RemoteTenant
from super_advanced_agents.errors import InvalidInputError, PermissionDeniedError
from super_advanced_agents.stores.transfer import Header, open_export
from super_advanced_agents.stores.transfer.layout import Entry, Item, Part
from super_advanced_agents.stores.transfer.storing import acount_stored
from super_advanced_agents.tenancy.importing.files import Input
from super_advanced_agents.tenancy.importing.interrupted import stored_uids
from super_advanced_agents.tenancy.importing.summary import RejectedLine, SourceLocation, Summary
from super_advanced_agents.types import Memory, Record, Relocation

_MEMORIES = 256
_RECORD_BYTES = 4 * 1024 * 1024
_OWN_FIELDS = frozenset({"text", "type", "session"})


class ServerImporter:
    """Import `saa export` files into a server, which embeds the texts.

    Args:
        url: the server's URL.
        api_key: the key, which determines the tenant.
        namespace: the agent that gets all memories; when None, the agent of each memory's namespace.
        from_tenant: the only tenant in the exports that is imported; needed when they hold several.
        summary: updated while the import runs.
        on_bytes: called with the number of bytes read since the last call.
        on_rejected: called with each line that cannot be imported; may raise, to stop.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        namespace: str | None,
        from_tenant: str | None,
        summary: Summary,
        on_bytes: Callable[[int], None],
        on_rejected: Callable[[RejectedLine], None],
    ) -> None:
        self._url = url
        self._key = api_key
        self._namespace = namespace
        self._from_tenant = from_tenant
        self._summary = summary
        self._on_bytes = on_bytes
        self._on_rejected = on_rejected

    def run(self, inputs: Iterable[Input]) -> None:
        """Import the given `saa export` files in order, and count the progress in `summary`."""
        wait_for_server(self._url)
        for file_input in inputs:
            with ExitStack() as stack:
                export = open_export(file_input.path or sys.stdin.buffer)
                stack.callback(export.close)
                self._check(export.header)
                restoring = _Restoring(self, stack, file_input.source)
                read_bytes = 0
                while entries := export.page():
                    for part, of_part in groupby(entries, key=lambda entry: entry.part):
                        restoring.store(part, list(of_part))
                    self._on_bytes(export.read_bytes - read_bytes)
                    read_bytes = export.read_bytes
                restoring.finish()
            if export.header.version == 1:
                self._summary.untold.append(file_input.source)
            self._summary.files += 1

    def _check(self, header: Header) -> None:
        if header.tenant is None and self._from_tenant is None:
            raise InvalidInputError(
                "the export holds several tenants, and the key is of one",
                field="--from-tenant",
                hint="choose one of them with --from-tenant",
            )
        if self._namespace is not None and header.namespace is None:
            raise InvalidInputError(
                "the export holds the memories of all agents, whose uids could clash in one agent",
                field="--agent",
                hint="leave --agent (SAA_AGENT) out: each memory then goes to its agent",
            )

    def open_agent(self, namespace: str) -> RemoteAgent:
        """Return a client of the agent that gets the memories of a namespace."""
        return RemoteAgent(self._url, self._namespace or namespace, api_key=self._key)

    def open_collection(self, name: str) -> DistributedVectorStore:
        """Return a client of a collection."""
        return DistributedVectorStore(self._url, name, api_key=self._key, timeout_s=60.0)

    def open_tenant(self) -> RemoteTenant:
        """Return a client of the key's tenant."""
        return RemoteTenant(self._url, api_key=self._key)

    def reason_to_leave_out(self, part: Part) -> str:
        """Return why the records of a part are left out, or ""."""
        if self._from_tenant not in (None, part.tenant):
            return "of other tenants"
        return "of collections" if part.collection is not None and self._namespace is not None else ""

    def reject(self, source: str, line: int, why: str) -> None:
        """Report a line that cannot be imported."""
        rejected = RejectedLine(SourceLocation(source, line), why)
        self._summary.reject(rejected)
        self._on_rejected(rejected)

    @property
    def summary(self) -> Summary:
        """The counts."""
        return self._summary

    @property
    def into_one_agent(self) -> bool:
        """True if one agent gets all memories, so that settings are left out."""
        return self._namespace is not None


class _Restoring:
    # One export. Turns are stored in the order of their uids, and brought into that of their conversations at the end.

    def __init__(self, importer: ServerImporter, stack: ExitStack, source: str) -> None:
        self._importer = importer
        self._stack = stack
        self._source = source
        self._agents: dict[str, RemoteAgent] = {}
        self._collections: dict[str, DistributedVectorStore] = {}
        self._tenant: RemoteTenant | None = None
        self._turns: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)

    def store(self, part: Part, entries: list[Entry]) -> None:
        importer = self._importer
        for entry in entries:
            if entry.trouble:
                importer.reject(self._source, entry.number, entry.trouble)
            elif entry.item is not None:
                self._apply(entry, entry.item)
        records = [(entry.number, entry.record) for entry in entries if entry.record is not None]
        if why := importer.reason_to_leave_out(part):
            importer.summary.left_out[why] += len(records)
        elif part.collection is not None:
            self._store_records(part.collection, records)
        else:
            for namespace, of_agent in groupby(records, key=lambda pair: pair[1].namespace):
                self._store_memories(namespace, list(of_agent))

    def finish(self) -> None:
        for (namespace, _), turns in self._turns.items():
            if any(before > after for (before, _), (after, _) in pairwise(turns)):
                self._agent(namespace).relocate_memories(order=[uid for _, uid in sorted(turns)])

    def _store_memories(self, namespace: str, records: list[tuple[int, Record]]) -> None:
        left_out, now = self._importer.summary.left_out, time.time()
        wanted = []
        for number, record in records:
            if record.text is None:
                left_out["vectors without a text, which an agent does not embed"] += 1
            elif record.expires_at is not None and record.expires_at <= now:
                left_out["expired"] += 1
            else:
                wanted.append((number, record))
        for start in range(0, len(wanted), _MEMORIES):
            batch = wanted[start : start + _MEMORIES]
            while batch:
                batch = self._store_batch(namespace, batch, now)

    def _store_batch(self, namespace: str, batch: Sequence[tuple[int, Record]], now: float) -> list[tuple[int, Record]]:
        # Returns the records to try again: those without an invalid one.
        agent, summary = self._agent(namespace), self._importer.summary
        memories = [_memory(record, now) for _, record in batch]
        before = summary.stored
        try:
            agent.add_text_memories(memories)
            agent.relocate_memories([_origin(record) for _, record in batch])
            summary.stored = before + len(batch)
        except InvalidInputError as exc:
            return self._without_invalid(batch, exc)
        except BaseException:  # Ctrl-C may come after the batch has become durable
            summary.stored = before + len(stored_uids(agent, memories))
            raise
        for _, record in batch:
            if record.session is not None and record.place is not None:
                self._turns[namespace, record.session].append((record.place, record.uid))
        return []

    def _store_records(self, collection: str, records: list[tuple[int, Record]]) -> None:
        store = self._collections.get(collection)
        if store is None:
            for number, _ in records:
                self._importer.reject(self._source, number, "its collection was not imported")
            return
        for of_request in _requests(records):
            batch = list(of_request)
            while batch:
                batch = self._put(store, batch)

    def _put(self, store: DistributedVectorStore, batch: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
        # Returns the records to try again: those without an invalid one.
        summary = self._importer.summary
        records = [record for _, record in batch]
        before = summary.stored
        try:
            stored = store.put(records)
            summary.stored = before + stored
        except InvalidInputError as exc:
            return self._without_invalid(batch, exc)
        except BaseException:
            summary.stored = before + run_sync(acount_stored(store, records))
            raise
        if stored < len(batch):
            summary.left_out["expired"] += len(batch) - stored
        return []

    def _without_invalid(self, batch: Sequence[tuple[int, Record]], exc: InvalidInputError) -> list[tuple[int, Record]]:
        name, _, rest = exc.field.partition("[")
        index = rest.partition("]")[0]
        invalid = int(index) if name in {"items", "records", "relocations"} and index.isdigit() else len(batch)
        if invalid >= len(batch):
            raise exc
        self._importer.reject(self._source, batch[invalid][0], exc.message.removeprefix(exc.field).strip())
        return [*batch[:invalid], *batch[invalid + 1 :]]

    def _apply(self, entry: Entry, item: Item) -> None:
        summary = self._importer.summary
        if self._importer.into_one_agent or self._importer.reason_to_leave_out(entry.part):
            summary.left_out["settings"] += 1
            return
        if self._tenant is None:
            self._tenant = self._stack.enter_context(self._importer.open_tenant())
        try:
            if item.get("kind") == "agent":
                run_sync(self._tenant.aput_agent(*agent_settings(item)))
                summary.agents += 1
            else:
                request = collection_settings(item)
                run_sync(self._tenant.acreate_collection(request))
                store = self._stack.enter_context(self._importer.open_collection(request.name))
                self._collections[request.name] = store
                summary.collections += 1
        except InvalidInputError as exc:
            self._importer.reject(self._source, entry.number, exc.message)
        except PermissionDeniedError:
            if item.get("kind") != "agent":
                raise
            summary.left_out["settings of agents, which only a key with the scope admin stores"] += 1

    def _agent(self, namespace: str) -> RemoteAgent:
        if namespace not in self._agents:
            self._agents[namespace] = self._stack.enter_context(self._importer.open_agent(namespace))
        return self._agents[namespace]


def _memory(record: Record, now: float) -> Memory:
    metadata = record.metadata
    memory_type = metadata.get("type", "fact")
    return Memory(
        text=record.text or "",
        memory_type=memory_type if isinstance(memory_type, str) else "fact",
        uid=record.uid,
        extra={name: value for name, value in metadata.items() if name not in _OWN_FIELDS},
        expires_in_s=None if record.expires_at is None else record.expires_at - now,
        source=record.source,
        session=record.session,
        priority=record.priority,
    )


def _origin(record: Record) -> Relocation:
    return Relocation(uid=record.uid, source=record.source, session=record.session, created_at=record.created_at)


def _requests(records: list[tuple[int, Record]]) -> Iterator[list[tuple[int, Record]]]:
    batch: list[tuple[int, Record]] = []
    size_bytes = 0
    for number, record in records:
        # base64 of the vector, and metadata by estimate: it is 16 KiB at most
        record_bytes = 2 * record.vector.nbytes + 2 * len(record.text or "") + 2_048
        if batch and size_bytes + record_bytes > _RECORD_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append((number, record))
        size_bytes += record_bytes
    if batch:
        yield batch
