"""Tests of opening a store by its URL."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from super_advanced_agents import DistributedVectorStore, FAISSVectorStore, open_store
from super_advanced_agents.errors import ConfigurationError, StoreLockedError
from super_advanced_agents.stores import opening
from super_advanced_agents.stores.opening import folder_of, register_scheme
from super_advanced_agents.stores.options import StoreOptions

ONE = np.array([1.0, 0.0, 0.0], np.float32)


def test_folder_url_opens_the_same_store_each_time(tmp_path):
    """Records persist between openings, and the scheme may be written in capitals."""
    with open_store(f"faiss:{tmp_path / 'store'}", dim=3, metric="dot", index="flat") as store:
        store.add(2 * ONE, {"text": "hello"}, "a")
        with pytest.raises(StoreLockedError):
            open_store(f"faiss:{tmp_path / 'store'}", dim=3, metric="dot")
    with open_store(f"FAISS:{tmp_path / 'store'}", dim=3, metric="dot") as store:
        assert [(match.uid, match.score) for match in store.search(ONE)] == [("a", 2.0)]


def test_url_of_a_server_needs_no_import_of_the_client():
    """The stores' own module loads the client when it is needed, and connects only when the store is used."""
    script = (
        "from super_advanced_agents.stores.opening import open_store\n"
        "with open_store('grpc://127.0.0.1:9/notes', dim=3) as store:\n"
        "    print(type(store).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("DistributedVectorStore\n", "")


@pytest.mark.parametrize("url", ["", "folder", "./folder", "redis://host", "faiss", "/folder:1"])
def test_open_store_refuses_an_unknown_scheme_and_names_the_known_ones(url):
    """The message lists every registered scheme."""
    with pytest.raises(
        ConfigurationError, match=r"known are faiss:, grpc:, grpcs:, http:, https:, milvus:, postgres:, postgresql:"
    ):
        open_store(url, dim=3)


def test_open_store_refuses_a_folder_url_without_a_folder():
    """Such a URL does not quietly open a store in memory."""
    with pytest.raises(ConfigurationError, match="names no folder"):
        open_store("faiss:", dim=3)
    assert folder_of("https://host") is None


def test_server_url_opens_a_client_of_the_collection_in_its_path():
    """No connection is made before the first call."""
    with open_store("http://127.0.0.1:9/notes", dim=3, api_key="saa_x") as store:
        assert isinstance(store, DistributedVectorStore)
        assert repr(store) == "DistributedVectorStore('http://127.0.0.1:9', 'notes')"
    with open_store("grpc://127.0.0.1:9", dim=3) as store:
        assert repr(store) == "DistributedVectorStore('grpc://127.0.0.1:9', 'default')"
    with pytest.raises(ConfigurationError, match="metric"):
        open_store("grpc://127.0.0.1:9", dim=3, metric="dot")


def test_registered_scheme_is_opened_with_all_options(monkeypatch):
    """Another package adds an engine this way."""
    monkeypatch.setitem(opening._OPENERS, "memory", None)  # undone after the test; no public call unregisters
    seen = []

    def opened(url, options):
        seen.append((url, options))
        return FAISSVectorStore(options.dim)

    register_scheme("Memory", opened)
    with open_store("memory:x", dim=3, storage="sq8", api_key="secret") as store:
        assert store.dim == 3
    assert seen == [("memory:x", StoreOptions(dim=3, storage="sq8", api_key="secret"))]
    assert "secret" not in repr(seen)
