"""Writes with an `Idempotency-Key`: asked twice, done once, with the same answer, also after a crash in between.

A key is written down before its request is carried out, with a seed for the names that the request will give. A request
that broke off, be it by a crash, is carried out again by whoever asks again; the same names make it the same write.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from super_advanced_agents._runtime.batcher import MicroBatcher
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.server.idempotency.request_store import (
    Answer,
    Begin,
    Begun,
    Name,
    Note,
    Reply,
    RequestTable,
    Step,
)
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.tenancy.idempotent_writes import ATTEMPT, Attempt
from super_advanced_agents.types import JSONValue

__all__ = ["Idempotency", "Reply", "checked_key", "digest_of"]

FIELD = "Idempotency-Key"
MOST_REPLY_BYTES = 1024 * 1024
"""A longer reply is not kept; whoever asks again has the same made anew."""

_log = get_logger("server")
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)
_STEPS_TOGETHER = 256
_MAX_WAITING = 8_192
_NOT_KEPT = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def checked_key(key: str) -> str:
    """The key, if it is one.

    Raises:
        InvalidInputError: it is not 1 to 255 visible ASCII characters.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidInputError(f"{FIELD} must be 1 to 255 visible ASCII characters", field=FIELD)
    return key


def digest_of(*parts: bytes) -> bytes:
    """What tells one request from another: of its method, its path and what it brought."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


class Idempotency(Resource):
    """What became of the writes of a day, by tenant and key.

    The file is opened at first use. One process has it: whoever owns the store beside it.

    Args:
        file: a database, made when missing.
        max_keys: how many requests of a tenant are kept; the oldest leave first.
        max_bytes: how long their replies may be together.
    """

    def __init__(self, file: Path, *, max_keys: int = 100_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        super().__init__()
        self._file = file
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._table: RequestTable | None = None
        self._running: set[Name] = set()
        self._entering = threading.Lock()
        self._writer: MicroBatcher[Step, Begun | Reply | None] = MicroBatcher(
            self._execute, name="server requests", max_batch_cost=_STEPS_TOGETHER, max_queue_cost=_MAX_WAITING
        )

    async def areply(self, key: str, digest: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply | None:
        """The reply to the current call's write: made now, or the one it had within the last day.

        Args:
            key: as it came.
            digest: of what is asked; see `digest_of`.
            make: carries it out, with an `Attempt` in the notes of the call. What it raises is raised, and not kept.

        Returns:
            The reply; refusals that may pass (401, 403, 408, 409, 429) and failures (5xx) are not kept, nor is what is
            not whole. None while the first request of that key is still being carried out.

        Raises:
            InvalidInputError: it is no key, or something else was asked by it; nothing was done.
            StoreError: nothing can be written down; nothing was done.
        """
        self._check_open()
        context = current_context()
        name = Name(tenant=context.principal.tenant, key=checked_key(key))
        with self._entering:
            if name in self._running:
                return None
            self._running.add(name)
        try:
            begun = await self._writer.submit(Begin(name, digest))
            if begun is None:
                raise InvalidInputError(
                    f"this {FIELD} was used for another request", field=FIELD, hint="make a new key for each request"
                )
            if isinstance(begun, Reply):
                return begun
            context.notes[ATTEMPT] = self._attempt(begun)
            reply = await make()
            if _is_kept(reply):
                await self._keep(Answer(name, begun.id, reply))
            return reply
        finally:
            context.notes.pop(ATTEMPT, None)
            with self._entering:
                self._running.discard(name)

    def _attempt(self, begun: Begun) -> Attempt:
        async def keep(facts: dict[str, JSONValue]) -> None:
            await self._writer.submit(Note(begun.id, facts))

        return Attempt(begun.seed, begun.at, begun.facts, keep)

    async def _keep(self, answer: Answer) -> None:
        try:
            await self._writer.submit(answer)
        except SuperAdvancedAgentsError as exc:  # the write is done; whoever asks again has its reply made anew
            _log.warning("server.reply_not_kept", extra={"reason": str(exc)})

    def _execute(self, steps: list[Step]) -> list[Begun | Reply | None]:
        if self._table is None:
            self._table = RequestTable(self._file, max_keys=self._max_keys, max_bytes=self._max_bytes)
        return self._table.execute(steps)

    def _release(self) -> None:
        self._writer.close()
        if self._table is not None:
            self._table.close()


def _is_kept(reply: Reply) -> bool:
    return (
        reply.whole
        and len(reply.body) <= MOST_REPLY_BYTES
        and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
        and reply.status not in _NOT_KEPT
        and reply.status != 499  # the caller hung up, so nobody knows what was done
    )
