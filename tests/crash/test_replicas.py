"""Replicas over one PostgreSQL are killed, and the database too, while clients check every answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

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
    """Clients read their own writes at any replica, and the service is back within ten seconds of each fault."""
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
        recoveries = []
        try:
            ends_at = time.monotonic() + (_SHORT_S if campaign == 1 else _LONG_S)
            number = 0
            while time.monotonic() < ends_at and len(findings.wrong) < 10:
                time.sleep(2.0)
                fault = _FAULTS[number % len(_FAULTS)]
                number += 1
                fault(service)
                time.sleep(2.0)
                recoveries.append((fault.__name__, findings.recovery_s(time.monotonic() - 2.0)))
        finally:
            for client in everyone:
                client.stopping.set()
            for client in everyone:
                client.join()
        service.wait_until_ready()
        for tenant in _TENANTS:
            check_stored(service.url, keys[tenant], clients[tenant], findings)
        print(findings.outcomes, f"longest {findings.longest_s:.1f} s", recoveries)
        assert findings.wrong == []
        assert findings.outcomes["done"] > 100
        assert max(seconds for _, seconds in recoveries) < _RECOVERY_S
