"""A child process whose time of day jumps by a day under a store, with `shifted_clock.c` preloaded.

    python -m tests.crash.clocked FOLDER flat|hnsw forth|back

It fails where a promise is broken, and prints `fine` otherwise. `forth` begins a store at the present time and leaves
it as it is after a jump back; `back` goes on with it in a process that starts a day early.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

import numpy as np

from super_advanced_agents import FAISSVectorStore

_DAY_S = 86_400
_HOUR_S = 3_600.0
_SHIM = ctypes.CDLL(os.environ["LD_PRELOAD"])
_SHIFT = ctypes.c_long.in_dll(_SHIM, "clock_shift")
_GENERATED: list[str] = []


def _jump(days: int) -> None:
    before = time.time()
    _SHIFT.value = days * _DAY_S
    assert abs(time.time() - before) > _HOUR_S, "the clock did not jump"


def _add(store: FAISSVectorStore, name: str | None, expires_in_s: float | None = None) -> str:
    vector = np.random.default_rng(len(_GENERATED)).standard_normal(4)
    uid = store.add(vector, {"kind": "x", "text": "words of it"}, name, expires_in_s=expires_in_s)
    if name is None:
        assert uid not in _GENERATED
        assert not _GENERATED or uid > _GENERATED[-1], "names no longer ascend"
        _GENERATED.append(uid)
    return uid


def _present(store: FAISSVectorStore, named: list[str]) -> set[str]:
    """Return which of these uids the store has, after checking that every way of reading agrees."""
    got = {record.uid for record in store.get(named)}
    everything = {record.uid for record in store.scan(limit=1_000)}
    assert got == everything & set(named)
    assert {match.uid for match in store.search(np.ones(4), 1_000)} == everything
    assert {match.uid for match in store.search(np.ones(4), 1_000, where={"kind": "x"})} == everything
    assert {match.uid for match in store.search_keywords("words", 1_000)} == everything
    assert store.count() == store.count({"kind": "x"}) == len(everything)
    return got


def _forth(store: FAISSVectorStore) -> None:
    for _ in range(40):
        _add(store, None)
    uids = list(_GENERATED)
    _add(store, "lasting")
    _add(store, "hour", _HOUR_S)
    assert _present(store, ["lasting", "hour"]) == {"lasting", "hour"}

    _jump(1)
    assert _present(store, ["lasting", "hour"]) == {"lasting"}
    assert store.delete(["hour"]) == 0, "a delete counts what has expired"
    _add(store, "tomorrow", _HOUR_S)
    assert _present(store, ["lasting", "tomorrow"]) == {"lasting", "tomorrow"}

    _jump(-1)
    _add(store, "yesterday", _HOUR_S)
    _add(store, "lasting")
    assert _present(store, ["lasting", "hour", "tomorrow", "yesterday"]) == {"lasting", "tomorrow", "yesterday"}

    _jump(0)  # seconds have passed, whatever the clock said: no lifetime of an hour is over
    assert _present(store, ["lasting", "tomorrow", "yesterday"]) == {"lasting", "tomorrow", "yesterday"}
    assert _present(store, uids) == set(uids)
    _jump_while_writing(store)


def _jump_while_writing(store: FAISSVectorStore) -> None:
    """Check that nothing is lost, refused or named twice while the clock jumps under writers and readers."""
    uids: list[str] = []

    def write() -> None:
        for _ in range(50):
            uids.extend(store.add_batch(np.ones((4, 4)), [{"kind": "x", "text": "words of it"}] * 4))
            uids.append(store.add(np.ones(4), {"kind": "x", "text": "words of it"}))
            store.add(np.ones(4), None, "passing", expires_in_s=1.0)
            store.search(np.ones(4), 3)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    jumps = 0
    while any(writer.is_alive() for writer in writers):
        jumps += 1
        _SHIFT.value = (jumps % 3 - 1) * _DAY_S
        writers[0].join(0.002)
    assert len(uids) == len(set(uids)) == 3 * 50 * 5
    _SHIFT.value = 10 * _DAY_S
    store.delete(["passing", "tomorrow", "yesterday"])
    assert _present(store, uids) == set(uids)
    _SHIFT.value = 0


def _back(store: FAISSVectorStore) -> None:
    """Start a day early: records without a lifetime are there, new uids are new, and writes go on."""
    before = {record.uid for record in store.scan(limit=1_000)}
    assert "lasting" in before
    assert len(before) == 40 + 1 + 3 * 50 * 5
    for _ in range(40):
        _add(store, None)
    assert not before & set(_GENERATED)
    assert _present(store, _GENERATED) == set(_GENERATED)
    assert store.count() == len(before) + len(_GENERATED)
    assert store.delete(["lasting"]) == 1


def main() -> None:
    """Open the store and run one act."""
    folder, index, act = sys.argv[1:]
    if act == "back":
        _jump(-1)
    with FAISSVectorStore(4, folder, index=index, buffer_rows=16) as store:  # type: ignore[arg-type]
        (_forth if act == "forth" else _back)(store)
    print("fine")


if __name__ == "__main__":
    main()
