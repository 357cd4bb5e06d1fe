"""Stores that a URL names."""

from __future__ import annotations

import numpy as np
import pytest

from super_advanced_agents import DistributedVectorStore, FAISSVectorStore, open_store
from super_advanced_agents.errors import ConfigurationError, StoreLockedError
from super_advanced_agents.stores import opening
from super_advanced_agents.stores.opening import folder_of, register_scheme
from super_advanced_agents.stores.options import StoreOptions

ONE = np.array([1.0, 0.0, 0.0], np.float32)


def test_a_folder_url_opens_the_same_store_each_time(tmp_path):
    """What was added is there when the URL is opened again; the scheme may be written in capitals."""
    with open_store(f"faiss:{tmp_path / 'kept'}", dim=3, metric="dot", index="flat") as store:
        store.add(2 * ONE, {"text": "hello"}, "a")
        with pytest.raises(StoreLockedError):
            open_store(f"faiss:{tmp_path / 'kept'}", dim=3, metric="dot")
    with open_store(f"FAISS:{tmp_path / 'kept'}", dim=3, metric="dot") as store:
        assert [(match.uid, match.score) for match in store.search(ONE)] == [("a", 2.0)]


@pytest.mark.parametrize("url", ["", "folder", "./folder", "redis://host", "faiss", "/folder:1"])
def test_a_url_of_no_known_scheme_names_the_known_ones(url):
    """Nothing is made."""
    with pytest.raises(ConfigurationError, match=r"known are faiss:, grpc:, grpcs:, http:, https:"):
        open_store(url, dim=3)


def test_a_folder_url_without_a_folder_is_refused():
    """It does not quietly become a store in memory."""
    with pytest.raises(ConfigurationError, match="names no folder"):
        open_store("faiss:", dim=3)
    assert folder_of("https://host") is None


def test_a_served_collection_is_opened_by_its_url():
    """The path is its name; nothing is connected yet."""
    with open_store("http://127.0.0.1:9/notes", dim=3, api_key="saa_x") as store:
        assert isinstance(store, DistributedVectorStore)
        assert repr(store) == "DistributedVectorStore('http://127.0.0.1:9', 'notes')"
    with open_store("grpc://127.0.0.1:9", dim=3) as store:
        assert repr(store) == "DistributedVectorStore('grpc://127.0.0.1:9', 'default')"
    with pytest.raises(ConfigurationError, match="metric"):
        open_store("grpc://127.0.0.1:9", dim=3, metric="dot")


def test_a_registered_scheme_is_opened_with_all_options(monkeypatch):
    """So another package adds an engine."""
    monkeypatch.setattr(opening, "_OPENERS", dict(opening._OPENERS))
    seen = []

    def opened(url, options):
        seen.append((url, options))
        return FAISSVectorStore(options.dim)

    register_scheme("Memory", opened)
    with open_store("memory:x", dim=3, storage="sq8", api_key="secret") as store:
        assert store.dim == 3
    assert seen == [("memory:x", StoreOptions(dim=3, storage="sq8", api_key="secret"))]
    assert "secret" not in repr(seen)
