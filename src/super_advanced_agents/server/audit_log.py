"""The audit log of a running server, written by a thread in batches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.queues.shares import NO_SHARE, active_share
from super_advanced_agents.errors import EngineUnavailableError, OverloadedError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.telemetry import counter, get_logger
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER, AuditFiles, Entry
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JSONValue

AuditMode = Literal["off", "changes", "all"]

_MAX_QUEUED, _MAX_BATCH = 10_000, 1_000
_RETRY_S = 1.0
"""The time for which a log that fails closed refuses after a failure, before it tries again."""
_LOG_EVERY_S = 60.0
_PAGE_FILES = 4
_MAX_READERS = 8
_EXPORTS = frozenset({"scanRecords", "listRecords", "scanStream", "scanMemories", "listMemories"})
"""The reads that can take everything out; they count as changes."""
_DROPPED = counter("audit_entries_dropped")

_log = get_logger("audit")


class AuditLog(Resource):
    """Write an entry for each audited request in a thread, many in one flush.

    Args:
        data_dir: the data folder.
        mode: `"changes"` for writes, deletions, exports and administration, `"all"` for reads too, `"off"` for none.
        lines: write each entry as a line of the log too.
        fails_closed: refuse audited requests while the log cannot be written, and answer each one only when its entry
            is durable. Otherwise an entry that cannot be written is dropped and counted.
    """

    def __init__(
        self, data_dir: Path, *, mode: AuditMode = "changes", lines: bool = False, fails_closed: bool = False
    ) -> None:
        super().__init__()
        self.files = AuditFiles(data_dir / AUDIT_FOLDER)
        self._mode = mode
        self._lines = lines
        self._fails_closed = fails_closed
        self._failed_at = -_RETRY_S
        self._quiet_until = 0.0
        self._writer: MicroBatcher[Entry, None] = MicroBatcher(
            self._write, name="audit log", max_batch_cost=_MAX_BATCH, max_queue_cost=_MAX_QUEUED
        )
        self._readers = Workers(name="audit reader", threads=1, max_queue=_MAX_READERS)

    @classmethod
    def of(cls, settings: Settings) -> AuditLog:
        """Return the audit log that the settings ask for."""
        return cls(
            settings.data_dir,
            mode=settings.audit,
            lines=settings.audit_lines,
            fails_closed=settings.audit_fails_closed,
        )

    def covers(self, operation: Operation | None) -> bool:
        """Return whether requests of an operation have an entry."""
        if operation is None or operation.public or self._mode == "off" or not operation.access:
            return False
        if self._mode == "all":
            return Access.METRICS not in operation.access
        is_change = operation.permit is PermitKind.WRITE or operation.keyed or Access.ADMIN in operation.access
        return is_change or operation.name in _EXPORTS

    def check(self, operation: Operation) -> None:
        """Raise before a request is worked on if the log fails closed and cannot take its entry.

        Raises:
            EngineUnavailableError: the log cannot be written now.
        """
        if self._fails_closed and self.covers(operation) and time.monotonic() - self._failed_at < _RETRY_S:
            raise _unavailable()

    async def arecord(self, entry: Entry) -> None:
        """Queue an entry; if the log fails closed, wait until it is durable.

        Raises:
            EngineUnavailableError: the log fails closed, and the entry could not be written.
        """
        try:
            with active_share(NO_SHARE):  # one share for all tenants keeps the order of the answers
                future = self._writer.submit(entry)
            if self._fails_closed:
                await future
        except SuperAdvancedAgentsError as exc:
            self._note_dropped(exc)
            if self._fails_closed:
                raise _unavailable() from exc

    async def arecord_expiry(self, items: int) -> None:
        """Queue the receipt of deleted records whose lifetimes had ended, of all tenants.

        Args:
            items: the number of records.
        """
        if self._mode != "off":
            nobody = dict.fromkeys(("tenant", "key_id", "from", "protocol"), "")
            await self.arecord({**nobody, "operation": "expire", "target": "", "outcome": "ok", "items": items})

    def apage(self, tenant: str, *, before: str | None, limit: int) -> Future[list[dict[str, JSONValue]]]:
        """Return the newest entries of one tenant, newest first, from the latest files.

        Args:
            tenant: the tenant.
            before: only entries before the one with this hash; None for the newest.
            limit: the most entries.

        Returns:
            The entries without their `seq`, which would tell how much other tenants do.
        """

        def page() -> list[dict[str, JSONValue]]:
            entries = self.files.newest(tenant=tenant, before=before, limit=limit, max_files=_PAGE_FILES)
            return [{name: value for name, value in entry.items() if name != "seq"} for entry in entries]

        return self._readers.submit(page)

    def _write(self, entries: list[Entry]) -> list[BaseException | None]:
        if self._lines:  # first, so that a full disk loses no entry
            for entry in entries:
                _log.info("audit.entry", extra=dict(entry))
        try:
            self.files.append(entries)
        except (OSError, SuperAdvancedAgentsError) as exc:
            self._failed_at = time.monotonic()
            if not self._fails_closed:
                self._note_dropped(exc, len(entries))
            error = EngineUnavailableError("the audit log cannot be written", hint="see the server's log")
            error.__cause__ = exc
            return [error] * len(entries)
        self._failed_at = -_RETRY_S
        return [None] * len(entries)

    def _note_dropped(self, error: Exception, count: int = 1) -> None:
        _DROPPED.add(count)
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_EVERY_S
            reason = "the queue is full" if isinstance(error, OverloadedError) else str(error)
            _log.error("audit.entries_dropped", extra={"reason": reason})

    def _release(self) -> None:
        self._writer.close()
        self._readers.close()


def _unavailable() -> EngineUnavailableError:
    return EngineUnavailableError(
        "the audit log cannot be written, so nothing is done that it would have to show", hint="try again later"
    )
