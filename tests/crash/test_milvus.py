"""A Milvus server that is killed and started again has everything that was acknowledged."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from tests.milvus_engine import kill_own_server, own_server, stop_own_server

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores import MilvusVectorStore

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

DIM = 8
_KILLS, _NEXT_KILL_S, _RECOVERY_S = 5, 0.7, 60.0


class _Workload:
    """Write to a store until told to stop, and note what was acknowledged."""

    def __init__(self, store: MilvusVectorStore) -> None:
        self._store = store
        self.stopping = threading.Event()
        self.known: dict[str, set[int | None]] = {}  # uid -> the states it may be in; None for deleted
        self.acknowledged = 0
        self.errors: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            uid = f"u{number % 50:02}"
            gone = number % 7 == 3
            self._note(uid, None if gone else number)

    def _note(self, uid: str, value: int | None) -> None:
        before = self.known.get(uid, {None})
        self.known[uid] = before | {value}
        try:
            if value is None:
                self._store.delete([uid])
            else:
                self._store.add(np.ones(DIM), {"n": value}, uid)
        except SuperAdvancedAgentsError as exc:
            self.errors.append(type(exc).__name__)
            time.sleep(0.05)
        else:
            self.known[uid] = {value}
            self.acknowledged += 1


def _until_it_answers(store: MilvusVectorStore) -> None:
    deadline = time.monotonic() + _RECOVERY_S
    while True:
        try:
            store.count()
        except SuperAdvancedAgentsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def test_killed_milvus_has_all_that_was_acknowledged(milvus_url: str, campaign: int) -> None:
    """Adds, replacements and deletions; what failed may have happened or not. Errors are typed."""
    if campaign == 1:
        pytest.skip("a server starts six times: in the campaign only")
    del milvus_url  # gRPC's threads exist from then on
    url = own_server()
    with MilvusVectorStore(f"{url}/notes", DIM, partitions=1) as store:
        work = _Workload(store)
        thread = threading.Thread(target=work.run)
        thread.start()
        try:
            for kill in range(_KILLS):
                time.sleep(_NEXT_KILL_S * kill)  # the first while the collection is young
                before = work.acknowledged
                kill_own_server(url)
                _until_it_answers(store)
                deadline = time.monotonic() + _RECOVERY_S
                while work.acknowledged <= before + 5 and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert work.acknowledged > before + 5
        finally:
            work.stopping.set()
            thread.join()
        found = {record.uid: record.metadata["n"] for record in store.scan(limit=100)}
        assert work.acknowledged > 20
        assert set(work.errors) <= {"EngineUnavailableError", "DeadlineExceededError"}
        wrong = {uid: states for uid, states in work.known.items() if found.get(uid) not in states}
        assert not wrong, (wrong, found)
    stop_own_server(url)
