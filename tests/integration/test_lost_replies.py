"""A memory's write whose reply was lost is sent again, and never undoes what other clients did meanwhile."""

from __future__ import annotations

import threading
from itertools import count

import pytest
from tests.unit.client.proxy import Proxy

from super_advanced_agents import DistributedVectorStore, RemoteAgent
from super_advanced_agents.types import Memory

_agents = count()


@pytest.fixture(scope="module")
def server_info(shared_machine):
    """Yield the addresses and the key of a server.

    A gRPC channel stays open, so that gRPC's own threads and descriptors do not count as leaks of a test.
    """
    with shared_machine.server({"SAA_GRPC_PORT": "0"}) as client:
        key = shared_machine.key
        with DistributedVectorStore(client.startup_info["grpc"], collection="kept", api_key=key, dim=2) as open_store:
            open_store.count()
            yield {**client.startup_info, "key": key}


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


@pytest.fixture(params=["url", "grpc"])
def agents(request, server_info):
    """Yield a client of an agent through a proxy, a direct one, and the proxy, for each transport."""
    name, url, key = f"lost-{next(_agents)}", server_info[request.param], server_info["key"]
    with (
        Proxy(url) as proxy,
        RemoteAgent(proxy.url, name, api_key=key, timeout_s=60) as proxied,
        RemoteAgent(url, name, api_key=key) as direct,
    ):
        yield proxied, direct, proxy


def test_repeated_memory_does_not_come_back_after_it_was_forgotten(agents):
    """The other client's answer said that it is gone."""
    proxied, direct, proxy = agents
    assert proxied.count() == 0
    proxy.swallow()
    adding = _start(lambda: proxied.add_text_memories([Memory(text="The cat is called Miso.", uid="m")]))
    _wait_until(lambda: direct.count() == 1)
    assert direct.forget(["m"]) == 1
    proxy.cut()
    assert adding() == ["m"]
    assert direct.count() == 0


def test_repeated_update_of_a_memory_does_not_undo_a_later_one(agents):
    """The memory keeps the text that was written last."""
    proxied, direct, proxy = agents
    direct.add_text_memory("The cat is called Miso.", uid="m")
    assert proxied.count() == 1
    proxy.swallow()
    updating = _start(lambda: proxied.update_memory("m", text="The cat is called Momo."))
    _wait_until(lambda: "Momo" in direct.get("m").text)
    assert direct.update_memory("m", text="The cat is called Mimi.") is True
    proxy.cut()
    assert updating() is True
    assert direct.get("m").text == "The cat is called Mimi."


def test_repeated_forget_leaves_memories_that_were_added_later(agents):
    """It returns the number of memories that the first one deleted."""
    proxied, direct, proxy = agents
    direct.add_text_memory("The cat is called Miso.", uid="m")
    assert proxied.count() == 1
    proxy.swallow()
    forgetting = _start(lambda: proxied.forget(where={}))
    _wait_until(lambda: direct.count() == 0)
    direct.add_text_memory("The dog is called Rex.", uid="d")
    proxy.cut()
    assert forgetting() == 1
    assert direct.count() == 1
