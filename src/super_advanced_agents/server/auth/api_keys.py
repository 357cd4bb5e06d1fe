"""The API keys a server honours: all of them in memory, never older than half a second, and new ones at once."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from super_advanced_agents._runtime.futures import Future, in_thread, set_results
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.errors import AuthenticationError, ResourceClosedError, SuperAdvancedAgentsError
from super_advanced_agents.server.auth.key_store import KEY, KeyRecord, KeyTable, NewKey
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import Principal

_log = get_logger("server")
_LOOK_EVERY_S = 0.25
_LOOKS, _LOOKS_PER_S = 10.0, 4.0
"""How often ids that nobody knows are looked for besides: so often at once, and so often in the long run."""

_MOST_WAITING = 64
_NOT_VALID = "the API key is not valid"
_HINT = "`saa keys create` makes one"
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes = field(repr=False)
    principal: Principal
    expires_at: float | None
    revoked: bool


class KeyRing(Resource):
    """Tells whose an API key is, without I/O; a thread looks for what other processes have changed.

    Args:
        folder: of the keys; touched when it is opened.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._known: Mapping[str, _Known] = {}
        self._version = -1
        self._reading = threading.Lock()
        self._ending = threading.Event()
        self._asking = threading.Lock()
        self._asked = threading.Event()
        self._waiting: list[Future[None]] = []
        self._looks, self._counted_at = _LOOKS, time.monotonic()
        self._table: KeyTable | None = None
        self._watcher: threading.Thread | None = None

    async def aopen(self) -> None:
        """Read the keys, and begin to look for changes.

        Raises:
            ConfigurationError: the keys were made with another secret.
            StoreError: they cannot be read.
        """
        self._check_open()
        await in_thread(self._open, name="open keys")

    open = blocking(aopen)

    async def acreate_first(self, *, tenant: str, scopes: Iterable[str], label: str) -> NewKey | None:
        """Make a key that is honoured at once, unless there was ever one; then None.

        Raises:
            StoreError: it was not stored.
        """
        return await in_thread(lambda: self._create_first(tenant, scopes, label), name="create key")

    create_first = blocking(acreate_first)

    async def aprincipal_of(self, key: str) -> Principal:
        """Whose key it is; an id that is not known may have been made a moment ago and is looked for.

        Raises:
            AuthenticationError: see `principal_of`.
        """
        shape = KEY.fullmatch(key)
        if shape is not None and shape[1] not in self._known:
            future = self._ask()
            if future is not None:
                await future
        return self.principal_of(key)

    def principal_of(self, key: str) -> Principal:
        """Whose key it is, as far as is known.

        Raises:
            AuthenticationError: it was never made, was revoked or has expired; the message does not repeat it.
        """
        shape = KEY.fullmatch(key)
        table = self._table
        if table is None or self.closed:
            raise ResourceClosedError("the keys are not open", hint="call open() or await aopen() first")
        if shape is None:
            raise AuthenticationError(_NOT_VALID, hint=_HINT)
        known = self._known.get(shape[1])
        same = hmac.compare_digest(_NO_DIGEST if known is None else known.digest, table.digest_of(key))
        if known is None or not same:
            raise AuthenticationError(_NOT_VALID, hint=_HINT)
        if known.revoked:
            raise AuthenticationError(f"the API key {shape[1]} was revoked", hint=_HINT)
        if known.expires_at is not None and known.expires_at <= time.time():
            raise AuthenticationError(f"the API key {shape[1]} has expired", hint=_HINT)
        return known.principal

    def _ask(self) -> Future[None] | None:
        """A future for the end of the next look, which all share who ask before it begins; None for one look too many.

        Callers hold a place at the server while they wait: a flood of ids that were never made is not to take them all.
        """
        with self._asking:
            now = time.monotonic()
            self._looks = min(_LOOKS, self._looks + (now - self._counted_at) * _LOOKS_PER_S)
            self._counted_at = now
            if self._ending.is_set() or self._watcher is None or len(self._waiting) >= _MOST_WAITING:
                return None
            if not self._waiting:
                if self._looks < 1:
                    return None
                self._looks -= 1
            future: Future[None] = Future()
            self._waiting.append(future)
            self._asked.set()
            return future

    def _open(self) -> None:
        with self._reading:
            if self._table is None:
                self._table = KeyTable(self._folder)
                self._watcher = threading.Thread(target=self._watch, name="watch keys", daemon=True)
                self._watcher.start()
        self._look()

    def _create_first(self, tenant: str, scopes: Iterable[str], label: str) -> NewKey | None:
        assert self._table is not None
        made = self._table.create_first(tenant=tenant, scopes=scopes, label=label)
        self._look(changed=made is not None)  # one's own writes leave the version as it is
        return made

    def _watch(self) -> None:
        failing = False
        while True:
            self._asked.wait(_LOOK_EVERY_S)
            if self._ending.is_set():
                return
            with self._asking:
                self._asked.clear()
                waiting, self._waiting = self._waiting, []
            try:
                self._look()
                failing = False
            except SuperAdvancedAgentsError as exc:
                if not failing:
                    _log.error("server.keys_not_read", extra={"reason": str(exc)})
                failing = True
            finally:
                set_results((future, None) for future in waiting)

    def _look(self, *, changed: bool = False) -> None:
        with self._reading:
            if self._table is None:
                return
            version = self._table.version()  # before the rows: a write in between is seen the next time
            if changed or version != self._version:
                self._known = {record.id: _known(record) for record in self._table.records()}
                self._version = version

    def _release(self) -> None:
        with self._asking:
            self._ending.set()
            self._asked.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._reading:
            table, self._table = self._table, None
        set_results((future, None) for future in self._waiting)  # asked after the last look: told that this is closed
        if table is not None:
            table.close()


def _known(record: KeyRecord) -> _Known:
    return _Known(
        record.digest,
        Principal(tenant=record.tenant, scopes=record.scopes, key_id=record.id),
        record.expires_at,
        record.revoked_at is not None,
    )
