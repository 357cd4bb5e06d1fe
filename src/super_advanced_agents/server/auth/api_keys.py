"""Verification of API keys against an in-memory copy of the key database."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.concurrency.futures import Future, in_thread, set_results
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents.errors import AuthenticationError, EngineUnavailableError, ResourceClosedError, StoreError
from super_advanced_agents.server.auth.key_source import FolderKeys, KeySource
from super_advanced_agents.server.auth.key_store import KEY_PATTERN, KeyRecord, NewKey, digest_of
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import Principal

_log = get_logger("server")
_POLL_INTERVAL_S = 0.25
_SETTLING_S = 2.5
"""The seconds for which changed files are read again.

A second change in one tick of their clock would not show.
"""

_REFRESH_BURST, _REFRESHES_PER_S = 10.0, 4.0
"""The size and the rate of the token bucket for refreshes that unknown ids cause."""

_MAX_WAITING = 64
_NOT_VALID = "the API key is not valid"
_HINT = "`saa keys create` makes one"
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class _CachedKey:
    digest: bytes = field(repr=False)
    principal: Principal
    expires_at: float | None
    revoked: bool


class APIKeyVerifier(Resource):
    """Verify API keys in memory, and return the caller's tenant, scopes and key id.

    All keys are held in memory. A thread polls the files, so that a change by another process counts within half a
    second; an unknown id makes it look at once, because the key may be new. The database is opened anew for each
    reading, by its path, so that a file in another one's place counts as well. When the keys cannot be read, or belong
    to another secret, nobody is let in.

    Args:
        source: the keys, or the folder of their database; nothing is read before `open`.
    """

    def __init__(self, source: KeySource | Path) -> None:
        super().__init__()
        self._source = FolderKeys(source) if isinstance(source, Path) else source
        self._cached: Mapping[str, _CachedKey] = {}
        self._secret = b""
        self._clock = ForwardClock()
        self._clock_saved_at = 0.0
        self._signature: tuple[object, ...] = ()
        self._changed_at = 0.0
        self._opened = self._unreadable = False
        self._table_lock = threading.Lock()
        self._stop_watching = threading.Event()
        self._waiting_lock = threading.Lock()
        self._refresh_requested = threading.Event()
        self._waiting: list[Future[None]] = []
        self._refresh_tokens, self._refilled_at = _REFRESH_BURST, time.monotonic()
        self._watcher: threading.Thread | None = None

    @property
    def readable(self) -> bool:
        """False while the keys cannot be read, so that nobody is let in."""
        return not self._unreadable

    async def aopen(self) -> None:
        """Read all API keys into memory, and start the thread that polls the database for changes.

        Raises:
            ConfigurationError: the keys were created with another secret.
            StoreError: the keys cannot be read.
        """
        self._check_open()
        await in_thread(self._open, name="open keys")

    open = blocking(aopen)

    async def acreate_first(self, *, tenant: str, scopes: Iterable[str], label: str) -> NewKey | None:
        """Create an API key that is valid at once, or return None if the database ever held a key.

        Returns:
            The key; None if there is or was one, revoked and expired keys included.

        Raises:
            StoreError: the key was not stored.
        """
        self._check_open()
        return await in_thread(lambda: self._create_first(tenant, scopes, label), name="create key")

    create_first = blocking(acreate_first)

    async def aprincipal_of(self, key: str) -> Principal:
        """Return the principal (tenant, scopes, key id) of a key. An unknown key is looked up in the database.

        Raises:
            AuthenticationError: the key does not exist, was revoked or has expired.
        """
        parsed = KEY_PATTERN.fullmatch(key)
        if parsed is not None and parsed[1] not in self._cached:
            future = self._request_refresh()
            if future is not None:
                await future
        return self.principal_of(key)

    def principal_of(self, key: str) -> Principal:
        """Return the principal (tenant, scopes, key id) of an API key, from the keys in memory.

        Raises:
            AuthenticationError: the key does not exist, was revoked or has expired; the message does not repeat it.
            EngineUnavailableError: the keys cannot be read now, so that nobody is let in.
        """
        parsed = KEY_PATTERN.fullmatch(key)
        if not self._opened or self.closed:
            raise ResourceClosedError("the keys are not open", hint="call open() or await aopen() first")
        if self._unreadable:
            raise EngineUnavailableError("the API keys cannot be read now", hint="the server's log says why")
        if parsed is None:
            raise AuthenticationError(_NOT_VALID, hint=_HINT)
        cached = self._cached.get(parsed[1])
        # An unknown id is compared as well, so that the time of a refusal does not tell whether the id exists.
        same = hmac.compare_digest(_NO_DIGEST if cached is None else cached.digest, digest_of(key, self._secret))
        if cached is None or not same:
            raise AuthenticationError(_NOT_VALID, hint=_HINT)
        if cached.revoked:
            raise AuthenticationError(f"the API key {parsed[1]} was revoked", hint=_HINT)
        if cached.expires_at is not None and cached.expires_at <= self._clock.now():
            raise AuthenticationError(f"the API key {parsed[1]} has expired", hint=_HINT)
        return cached.principal

    def _request_refresh(self) -> Future[None] | None:
        # Callers hold a permit of the server while they wait, so a flood of ids that do not exist must not wait without
        # bound. Callers that ask before a reread begins share it.
        with self._waiting_lock:
            now = time.monotonic()
            refilled = self._refresh_tokens + (now - self._refilled_at) * _REFRESHES_PER_S
            self._refresh_tokens, self._refilled_at = min(_REFRESH_BURST, refilled), now
            if self._stop_watching.is_set() or self._watcher is None or len(self._waiting) >= _MAX_WAITING:
                return None
            if not self._waiting:
                if self._refresh_tokens < 1:
                    return None
                self._refresh_tokens -= 1
            future: Future[None] = Future()
            self._waiting.append(future)
            self._refresh_requested.set()
            return future

    def _open(self) -> None:
        self._source.open_table(create=True).close()  # creates what is missing, at the first start
        with self._table_lock:
            if not self._opened:
                self._refresh()
                self._opened = True
                self._watcher = threading.Thread(target=self._watch, name="watch keys", daemon=True)
                self._watcher.start()

    def _create_first(self, tenant: str, scopes: Iterable[str], label: str) -> NewKey | None:
        with self._table_lock:
            with closing(self._source.open_table(create=False)) as table:
                new_key = table.create_first(tenant=tenant, scopes=scopes, label=label)
            self._refresh()
        return new_key

    def _watch(self) -> None:
        while True:
            requested = self._refresh_requested.wait(_POLL_INTERVAL_S)
            if self._stop_watching.is_set():
                return
            with self._waiting_lock:
                self._refresh_requested.clear()
                waiting, self._waiting = self._waiting, []
            try:
                with self._table_lock:
                    self._refresh(settling=not requested)
                if self._unreadable:
                    _log.info("server.keys_read_again", extra={"keys": len(self._cached)})
                self._unreadable = False
            except Exception as exc:  # any error: a caller whose key cannot be checked is refused
                if not self._unreadable:
                    _log.error("server.keys_not_read", extra={"reason": str(exc)})
                self._cached, self._unreadable, self._signature = {}, True, ()
            finally:
                set_results((future, None) for future in waiting)

    def _refresh(self, *, settling: bool = False) -> None:
        signature = self._source.signature()  # before the rows: a write in between is seen by the next refresh
        if signature != self._signature:
            self._changed_at = time.monotonic()
        elif not (settling and time.monotonic() - self._changed_at < _SETTLING_S) and not self._has_newly_expired():
            return
        with closing(self._source.open_table(create=False)) as table:
            table.check()
            records = table.records()
            self._clock.advance_to(table.clock.now())
            table.clock.advance_to(self._clock.now())
            self._secret = table.secret
            self._cached = {record.id: _cached_key(record) for record in records}
            self._signature = signature
            if self._has_newly_expired():
                with suppress(StoreError):  # a full disk: the next reading tries again
                    table.save_clock()
            self._clock_saved_at = table.clock_saved_at

    def _has_newly_expired(self) -> bool:
        # Whether a key has expired since the clock was stored: it must not come back when the clock is set back.
        now = self._clock.now()
        times = (key.expires_at for key in self._cached.values() if key.expires_at is not None)
        return any(self._clock_saved_at < expires_at <= now for expires_at in times)

    def _release(self) -> None:
        with self._waiting_lock:
            self._stop_watching.set()
            self._refresh_requested.set()
        if self._watcher is not None:
            self._watcher.join()
        # Callers that arrived after the last refresh wake up and find the verifier closed.
        set_results((future, None) for future in self._waiting)


def _cached_key(record: KeyRecord) -> _CachedKey:
    return _CachedKey(
        record.digest,
        Principal(tenant=record.tenant, scopes=record.scopes, key_id=record.id),
        record.expires_at,
        record.revoked_at is not None,
    )
