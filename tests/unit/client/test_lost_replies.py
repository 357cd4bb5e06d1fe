"""A write whose reply was lost is sent again, and never undoes what other clients did meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from super_advanced_agents import DistributedVectorStore


def _start(work):
    """Run `work` in a thread, and return a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def wait():
        thread.join()
        return results[0]

    return wait


def _wait_until(condition):
    """Repeat `condition` until it is true; the test's own timeout ends what never is."""
    while not condition():
        pass


def _metadata(store, uid):
    return [record.metadata for record in store.get([uid])]


_VECTOR = [1, 2, 3, 4]
_WRITES = {
    "add": (lambda store, record: store.add(_VECTOR, {"n": 1}, "a"), ("a", [{"n": 1}])),
    "add stream": (lambda store, record: list(store.add_stream([(_VECTOR, {"n": 1}, "a")])), ("a", [{"n": 1}])),
    "put": (lambda store, record: store.put([replace(record, metadata={"n": 1})]), ("other", [{"n": 1}])),
    "update": (lambda store, record: store.update("other", {"n": 1}), ("other", [{"n": 1}])),
    "delete": (lambda store, record: store.delete(["other"]), ("other", [])),
    "delete by filter": (lambda store, record: store.delete(where={"n": 0}), ("other", [])),
}
"""Each write, and the metadata of a record by which another client sees that it was carried out."""

_CHANGES = {
    "delete": lambda store: store.delete(where={}),
    "update": lambda store: [store.update(uid, {"n": 2}) for uid in ("a", "other")],
    "replace": lambda store: store.add_batch([[4, 3, 2, 1]] * 2, [{"n": 0}] * 2, ["a", "other"]),
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
@pytest.mark.parametrize("write", [pytest.param(write, id=name) for name, write in _WRITES.items()])
def test_repeated_write_leaves_the_later_changes_of_another_client(store, proxied_store, proxy, write, change):
    """The records are afterwards as the other client, which was answered, has left them."""
    send, (uid, metadata) = write
    store.add([4, 3, 2, 1], {"n": 0}, "other")
    [record] = store.get(["other"])
    assert proxied_store.dim == 4
    proxy.swallow()
    result = _start(lambda: send(proxied_store, record))
    _wait_until(lambda: _metadata(store, uid) == metadata)
    change(store)
    left = [(record.uid, record.metadata, record.vector.tolist()) for record in store.scan()]
    proxy.cut()
    result()
    assert [(record.uid, record.metadata, record.vector.tolist()) for record in store.scan()] == left


def test_client_of_another_process_repeats_nothing_of_this_one(store, url, collection, served):
    """Each write of each client has an id of its own."""
    with DistributedVectorStore(url, collection=collection, api_key=served.key) as other:
        for client in (store, other):
            client.add([1, 2, 3, 4], {"n": 1}, "a")
            assert client.delete(["a"]) == 1
