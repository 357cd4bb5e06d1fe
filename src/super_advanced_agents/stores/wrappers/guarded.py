"""`GuardedStore`: a store in an engine on another machine, which may be away or slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

from super_advanced_agents._runtime.remote.circuit_breaker import CircuitBreaker
from super_advanced_agents.errors import DeadlineExceededError, EngineUnavailableError, SuperAdvancedAgentsError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.requests import Request, WriteRequest
from super_advanced_agents.stores.wrappers.base import StoreWrapper

R = TypeVar("R")

_FAILURES = 8
_COOL_DOWN_S = 0.5
_BUDGET, _PER_SUCCESS = 10.0, 0.1


class EngineGuard:
    """Stop calls to an engine that keeps failing, and bound how many failed calls are repeated.

    After eight failures in a row, without a success of any caller in between, calls are refused at once for half a
    second; then one call at a time tries the engine, until one succeeds. A failed call is repeated while the budget of
    repetitions lasts: ten at most, and one more for each ten calls that succeeded. All stores in one engine share it.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._breaker = CircuitBreaker(failures=_FAILURES, cool_down_s=_COOL_DOWN_S)
        self._budget = _BUDGET
        self._lock = threading.Lock()

    @property
    def reachable(self) -> bool:
        """False while the engine is regarded as away."""
        return self._breaker.state == "closed"

    async def run(self, call: Callable[[], Coroutine[object, object, R]], *, repeatable: bool) -> R:
        """Return the result of a call to the engine.

        Args:
            call: begins the call, a second time to repeat it.
            repeatable: whether it may be carried out twice.

        Raises:
            EngineUnavailableError: the engine is away, or was a moment ago.
        """
        try:
            return await self._once(call)
        except EngineUnavailableError:
            if not (repeatable and self._take()):
                raise
        return await self._once(call)

    async def _once(self, call: Callable[[], Coroutine[object, object, R]]) -> R:
        permit = self._breaker.admit()
        if permit is None:
            raise EngineUnavailableError(
                "the engine of the store does not answer, and is not asked for a moment", hint="try again in a second"
            )
        healthy: bool | None = None  # a cancelled call says nothing
        try:
            result = await call()
            healthy = True
        except (EngineUnavailableError, DeadlineExceededError):
            healthy = False
            raise
        except SuperAdvancedAgentsError:  # of the request: the engine has answered
            healthy = True
            raise
        finally:
            permit.end(healthy)
        with self._lock:
            self._budget = min(_BUDGET, self._budget + _PER_SUCCESS)
        return result

    def _take(self) -> bool:
        with self._lock:
            if self._budget < 1:
                return False
            self._budget -= 1
            return True


class GuardedStore(StoreWrapper):
    """Limit the time of calls to a store on another machine, and refuse them while it fails.

    Reads are repeated once when the engine was lost, and so are writes with a `write_id`. Closing the wrapper closes
    the store.

    Args:
        store: the open store.
        guard: shared by all stores in the same engine.
    """

    def __init__(self, store: VectorStore, guard: EngineGuard) -> None:
        super().__init__(store)
        self._guard = guard

    async def _execute(self, request: Request[R]) -> R:
        repeatable = not isinstance(request, WriteRequest) or request.write_id is not None
        return await self._guard.run(lambda: self._store.aexecute(request), repeatable=repeatable)

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        return await self._guard.run(lambda: self._store._aversion(tenant, namespace), repeatable=True)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        return await self._guard.run(lambda: self._store._anamespaces(tenant, limit), repeatable=True)

    async def _atenants(self) -> list[str] | None:
        return await self._guard.run(self._store._atenants, repeatable=True)

    def _release(self) -> None:
        try:
            self._store.close()
        finally:
            super()._release()
