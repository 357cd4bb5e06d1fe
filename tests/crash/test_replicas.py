"""Replicas over one PostgreSQL are killed, and the database too, while clients check every answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from tests.crash.replicas.service import Service, running_service
from tests.crash.replicas.workload import Client, Findings, check_stored

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

_TENANTS = ("acme", "globex", "initech")
_CLIENTS = 2
_SHORT_S, _LONG_S = 24.0, 600.0
_RECOVERY_S = 10.0


def _kill_replica(service: Service) -> None:
    service.kill(random.randrange(3))  # not for secrets


def _cut_connections(service: Service) -> None:
    service.cutter.cut()


def _restart_database(service: Service) -> None:
    service.postgres.kill()
    time.sleep(0.5)
    _start_again(service)


def _start_again(service: Service) -> None:
    deadline = time.monotonic() + 30
    while True:  # sessions of the killed server may hold its memory for a moment
        try:
            service.postgres.start()
            return
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.2)


_FAULTS: list[Callable[[Service], None]] = [_kill_replica, _cut_connections, _kill_replica, _restart_database]


def test_replicas_lose_and_double_nothing_while_they_and_the_database_are_killed(tmp_path: Path, campaign: int) -> None:
    """Clients read their own writes at any replica, and the service comes back after each fault."""
    findings = Findings()
    with running_service(tmp_path) as service:
        keys = {tenant: service.key(tenant) for tenant in _TENANTS}
        clients = {
            tenant: [Client(service.url, keys[tenant], tenant, number, findings) for number in range(_CLIENTS)]
            for tenant in _TENANTS
        }
        everyone = [client for those in clients.values() for client in those]
        for client in everyone:
            client.start()
        faults = []
        try:
            ends_at = time.monotonic() + (_SHORT_S if campaign == 1 else _LONG_S)
            number = 0
            while time.monotonic() < ends_at and len(findings.wrong) < 10:
                time.sleep(2.0)
                fault = _FAULTS[number % len(_FAULTS)]
                number += 1
                fault(service)
                faults.append((fault.__name__, time.monotonic()))
                time.sleep(2.0)
        finally:
            for client in everyone:
                client.stopping.set()
            for client in everyone:
                client.join()
        service.wait_until_ready()
        for tenant in _TENANTS:
            check_stored(service.url, keys[tenant], clients[tenant], findings)
        recoveries = [(name, findings.recovery_s(at)) for name, at in faults]
        print(findings.outcomes, f"longest {findings.longest_s:.1f} s", recoveries)
        assert findings.wrong == []
        assert findings.outcomes["done"] >= len(everyone)
        if campaign > 1:  # on a machine that does nothing else
            assert max(seconds for _, seconds in recoveries) < _RECOVERY_S


def test_replicas_without_database_or_valkey_say_so_and_heal(tmp_path: Path) -> None:
    """They refuse with a typed error, are ready for traffic all the same, and share changes at once when it is back."""
    with running_service(tmp_path) as service:
        key = service.key("acme")
        clients = [service.replica(number, key) for number in range(3)]
        try:
            _share_changes(service, clients)
            service.postgres.stop()
            _refuse_typed(service, clients)
            service.valkey.stop()
            _wait(lambda: all(len(_degraded(service, number)) == 2 for number in range(3)))
            service.postgres.start()
            _wait(lambda: all(client.get("/v1/agents").status_code == 200 for client in clients))
            assert all("Valkey" in _degraded(service, number)[0] for number in range(3))
            assert all(service.readiness(number)["ready"] for number in range(3))
        finally:
            for client in clients:
                client.close()


def _share_changes(service: Service, clients: list[httpx2.Client]) -> None:
    one, other, third = clients
    assert one.post("/v1/collections", json={"name": "notes", "dim": 2}).status_code == 201
    records = {"vectors": [[1, 0]], "uids": ["a"]}
    keyed = {"Idempotency-Key": "first"}
    assert other.post("/v1/collections/notes/records", json=records, headers=keyed).status_code == 200
    again = third.post("/v1/collections/notes/records", json=records, headers=keyed)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert one.get("/v1/collections/notes/records/a").status_code == 200
    assert third.put("/v1/agents/guide", json={"description": "knows Paris"}).status_code == 200
    assert one.get("/v1/agents/guide").json()["description"] == "knows Paris"
    assert other.delete("/v1/collections/notes").status_code == 204
    assert one.get("/v1/collections/notes/records/a").status_code == 404
    revoked = service.key("globex")
    replicas = [service.replica(number, revoked) for number in range(3)]
    assert [replica.get("/v1/agents").status_code for replica in replicas] == [200, 200, 200]
    service.saa("keys", "revoke", revoked.split("_")[1])
    _wait(lambda: all(replica.get("/v1/agents").status_code == 401 for replica in replicas))
    for replica in replicas:
        replica.close()


def _refuse_typed(service: Service, clients: list[httpx2.Client]) -> None:
    for client in clients:
        for answer in (
            client.get("/v1/agents"),
            client.post("/v1/agents/team/memories", json={"text": "lost"}, headers={"Request-Timeout": "5"}),
            client.post("/v1/agents/team/search", json={"query": "lost"}),
        ):
            assert (answer.status_code, answer.json()["error"]) == (503, "EngineUnavailableError")
            assert answer.json()["retryable"]
            assert "127.0.0.1" not in answer.text
    _wait(lambda: all(service.readiness(number)["store"] == "unreachable" for number in range(3)))
    assert all(service.readiness(number)["ready"] for number in range(3))


def _degraded(service: Service, number: int) -> list[str]:
    degraded = service.readiness(number)["degraded"]
    assert isinstance(degraded, list)
    return degraded


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60  # far more than any of this takes
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
