"""Idempotent writes: a write repeated with its `Idempotency-Key` is carried out once.

A key is stored before its request is carried out, with a random seed from which the uids of new records are derived. A
request that a crash interrupted is carried out again when the client repeats it; equal uids make it the same write.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.server.idempotency.request_store import (
    EndAttempt,
    IdempotencyKey,
    Reply,
    Requests,
    RequestTable,
    RunningElsewhere,
    SaveFacts,
    SaveReply,
    StartedRequest,
    StartRequest,
    Step,
    StepResult,
    check_requests,
)
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.tenancy.idempotent_writes import ATTEMPT, Attempt
from super_advanced_agents.tenancy.shared_state import SharedState
from super_advanced_agents.types import JSONValue

__all__ = ["Idempotency", "Reply", "checked_key", "digest_of"]

IDEMPOTENCY_FIELD = "Idempotency-Key"
MAX_REPLY_BYTES = 1024 * 1024
"""The largest reply that is stored, in bytes; a write with a larger one runs again."""

_log = get_logger("server")
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)
_MAX_BYTES = 64 * 1024 * 1024
_MAX_BATCH_STEPS = 256
_MAX_WAITING_STEPS = 8_192
_RETRYABLE_STATUSES = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def checked_key(key: str) -> str:
    """Check that an idempotency key is valid, and return it unchanged.

    Raises:
        InvalidInputError: it is not 1 to 255 visible ASCII characters.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidInputError(
            f"{IDEMPOTENCY_FIELD} must be 1 to 255 visible ASCII characters", field=IDEMPOTENCY_FIELD
        )
    return key


def digest_of(*parts: bytes) -> bytes:
    """Return a 32-byte digest of a request's parts, which identifies the request.

    Args:
        parts: the parts of the request, such as its method, path and body; their boundaries count.
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


class Idempotency(Resource):
    """Keep the replies to writes for a day, by tenant and `Idempotency-Key`.

    The file is opened at first use. Only one process may use it: the owner of the store in the same folder. A database
    that servers share may be used by any number of them.

    Args:
        place: the file, which is created if it does not exist; or the database that servers share.
        max_keys: how many requests of one tenant are stored; the oldest are deleted first.
        max_bytes: how many bytes of replies are stored for one tenant; the oldest requests are deleted first.
    """

    def __init__(
        self, place: Path | SharedState, *, max_keys: int = 100_000, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        super().__init__()
        self._place = place
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._table: Requests | None = None
        self._running: set[IdempotencyKey] = set()
        self._lock = threading.Lock()
        self._writer: MicroBatcher[Step, StepResult] = MicroBatcher(
            self._execute, name="server requests", max_batch_cost=_MAX_BATCH_STEPS, max_queue_cost=_MAX_WAITING_STEPS
        )

    async def aopen(self) -> None:
        """Check the file of requests, which the first of them opens.

        Raises:
            StoreError: a newer version of this package wrote it.
        """
        self._check_open()
        file = self._place
        if isinstance(file, Path) and await in_thread(file.exists, name="look for requests"):
            await in_thread(lambda: check_requests(file), name="check requests")

    async def areply(self, key: str, digest: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply | None:
        """Return the reply stored for an idempotency key, or run the write and store its reply.

        A reply is stored for a day, unless a repetition may end otherwise (401, 403, 408, 409, 429, 499 and 5xx), or
        the reply is streamed or longer than `MAX_REPLY_BYTES`.

        Args:
            key: the idempotency key, as it was sent.
            digest: the `digest_of` the request.
            make: carries out the write, with an `Attempt` in the notes of the request's context; its exceptions are
                raised here, and not stored.

        Returns:
            The reply; None while the first request with that key is running.

        Raises:
            InvalidInputError: the key is not valid, or was used for another request; the write was not carried out.
            StoreError: the key cannot be stored; the write was not carried out.
        """
        self._check_open()
        context = current_context()
        idempotency_key = IdempotencyKey(tenant=context.principal.tenant, key=checked_key(key))
        with self._lock:
            if idempotency_key in self._running:
                return None
            self._running.add(idempotency_key)
        try:
            started = await self._writer.submit(StartRequest(idempotency_key, digest))
            if started is None:
                raise InvalidInputError(
                    f"this {IDEMPOTENCY_FIELD} was used for another request",
                    field=IDEMPOTENCY_FIELD,
                    hint="make a new key for each request",
                )
            if isinstance(started, Reply):
                return started
            if isinstance(started, RunningElsewhere):
                return None
            context.notes[ATTEMPT] = self._attempt(started)
            last: SaveReply | EndAttempt = EndAttempt(started.id)
            try:
                reply = await make()
                if _is_stored(reply):
                    last = SaveReply(idempotency_key, started.id, reply)
            finally:
                await self._finish(last)
            return reply
        finally:
            context.notes.pop(ATTEMPT, None)
            with self._lock:
                self._running.discard(idempotency_key)

    def check_files(self) -> None:
        """Raise if a file of the database was removed, replaced, emptied or cut by others.

        Raises:
            StoreError: one was; writes with an idempotency key are refused.
        """
        if self._table is not None:
            self._table.check_files()

    def _attempt(self, started: StartedRequest) -> Attempt:
        async def save(facts: dict[str, JSONValue]) -> None:
            await self._writer.submit(SaveFacts(started.id, facts))

        return Attempt(started.seed, started.at, started.facts, save)

    async def _finish(self, step: SaveReply | EndAttempt) -> None:
        if isinstance(step, EndAttempt):
            self._end_attempt(step)
            return
        try:
            await self._writer.submit(step)
        except SuperAdvancedAgentsError as exc:  # the write is done; a retry carries it out again with equal uids
            _log.warning("server.reply_not_kept", extra={"reason": str(exc)})
            self._end_attempt(EndAttempt(step.id))

    def _end_attempt(self, step: EndAttempt) -> None:
        if self._table is not None and self._table.shared:
            with suppress(SuperAdvancedAgentsError):  # after a few seconds another server may begin all the same
                self._writer.submit(step)

    def _execute(self, steps: list[Step]) -> list[StepResult]:
        if self._table is None:
            self._table = self._open()
        return self._table.execute(steps)

    def _open(self) -> Requests:
        if isinstance(self._place, Path):
            return RequestTable(self._place, max_keys=self._max_keys, max_bytes=self._max_bytes)
        from super_advanced_agents.server.idempotency.postgres_requests import PostgresRequestTable

        return PostgresRequestTable(self._place, max_keys=self._max_keys, max_bytes=self._max_bytes)

    def _release(self) -> None:
        self._writer.close()
        if self._table is not None:
            self._table.close()


def _is_stored(reply: Reply) -> bool:
    return (
        reply.complete
        and len(reply.body) <= MAX_REPLY_BYTES
        and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
        and reply.status not in _RETRYABLE_STATUSES
        and reply.status != 499  # the client disconnected, so the outcome is unknown
    )
