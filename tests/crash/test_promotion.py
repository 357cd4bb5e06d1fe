"""The primary is killed under load and its standby promoted: what was acknowledged is there, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
import psycopg
import pytest
from tests.postgres import PostgresServer, running_server

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.errors import EngineUnavailableError, OverloadedError
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.requests import AddRequest, Bounds

pytestmark = pytest.mark.crash

DIM = 4
_WRITERS, _RECOVERY_S = 3, 10.0


class _Writer(threading.Thread):
    """Add records one after another, each until it is acknowledged, and read each of them back."""

    def __init__(self, store: PgVectorStore, number: int) -> None:
        super().__init__()
        self.stopping = threading.Event()
        self.acknowledged: dict[str, float] = {}
        self.wrong: list[str] = []
        self._store, self._number = store, number

    def run(self) -> None:
        for i in count():
            if self.stopping.is_set():
                return
            self._add(f"w{self._number}-{i}")

    def _add(self, name: str) -> None:
        request = AddRequest(
            bounds=Bounds(dim=DIM),
            vectors=np.ones((1, DIM), np.float32),
            metadatas=[{"text": f"tea {name}"}],
            namespace=f"n{self._number}",
            write_id=name,
        )
        while not self.stopping.is_set():
            try:
                [uid] = run_sync(self._store.aexecute(request))
                self.acknowledged[uid] = time.monotonic()
                if self._store.get([uid], namespace=f"n{self._number}") == []:
                    self.wrong.append(f"{uid} is not there after its write")
                return
            except (EngineUnavailableError, OverloadedError):
                time.sleep(0.05)


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    """Return a running server."""
    with running_server() as server:
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Return a standby for which the primary's commits wait."""
    server = PostgresServer(copy_of=primary)
    try:
        server.start()
        with psycopg.connect(primary.url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 30
            while admin.execute("SELECT sync_state FROM pg_stat_replication").fetchall() != [("sync",)]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield server
    finally:
        server.remove()


def test_promotion_under_load_loses_and_doubles_nothing(
    primary: PostgresServer, standby: PostgresServer, campaign: int
) -> None:
    """A URL of both hosts finds the one that takes writes; the errors meanwhile are typed."""
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    with PgVectorStore(f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write", DIM) as store:
        writers = [_Writer(store, number) for number in range(_WRITERS)]
        for writer in writers:
            writer.start()
        try:
            _wait_for(writers, since=0.0)
            primary.kill()
            standby.promote()
            promoted_at = time.monotonic()
            _wait_for(writers, since=promoted_at)
            if campaign > 1:  # on a machine that does nothing else
                assert time.monotonic() - promoted_at < _RECOVERY_S
        finally:
            for writer in writers:
                writer.stopping.set()
            for writer in writers:
                writer.join(60)
        for number, writer in enumerate(writers):
            assert writer.wrong == []
            there = [record.uid for record in store.scan(namespace=f"n{number}", limit=1_000)]
            missing = writer.acknowledged.keys() - set(there)
            assert missing == set()
            texts = [record.metadata["text"] for record in store.scan(namespace=f"n{number}", limit=1_000)]
            assert len(texts) == len(set(texts))


def _wait_for(writers: list[_Writer], since: float) -> None:
    # Until each has had ten acknowledgements since then.
    deadline = time.monotonic() + 60
    while not all(sum(at > since for at in list(each.acknowledged.values())) >= 10 for each in writers):
        assert time.monotonic() < deadline, "writes do not go on"
        time.sleep(0.02)
