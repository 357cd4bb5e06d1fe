"""Tests of tenant views: no tenant sees, changes or counts the records of another."""

import numpy as np
import pytest

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import InvalidInputError, ResourceClosedError
from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

DIM = 8


def vector(i):
    return np.eye(DIM, dtype=np.float32)[i % DIM]


@pytest.fixture
def store():
    with FAISSVectorStore(DIM) as opened:
        yield opened


def test_tenants_with_equal_uids_and_namespaces_see_only_their_own_records(store):
    """Each tenant has a record of its own under the same uid and namespace, in every read operation."""
    views = {tenant: tenant_view(store, tenant) for tenant in ("acme", "bolt")}
    for i, (tenant, view) in enumerate(views.items()):
        view.add(vector(0), {"text": f"secret of {tenant}", "of": tenant, "i": i}, "same", namespace="notes")
    for tenant, view in views.items():
        [record] = view.get(["same"], namespace="notes")
        assert record.metadata["of"] == tenant
        found = [
            view.search(vector(0), 10, namespace="notes"),
            view.search(vector(0), 10, namespace="notes", where={"of": {"$in": ["acme", "bolt"]}}),
            view.search_hybrid(vector(0), "secret", 10, namespace="notes"),
            view.search_keywords("secret", 10, namespace="notes"),
            view.search_with_filter(vector(0), 10, lambda _: True, namespace="notes"),
        ]
        assert [[match.metadata["of"] for match in matches] for matches in found] == [[tenant]] * 5
        assert [record.metadata["of"] for record in view.scan(namespace="notes")] == [tenant]
        assert view.count(namespace="notes") == 1
    assert views["acme"].update("same", {"seen": True}, namespace="notes")
    assert "seen" not in views["bolt"].get(["same"], namespace="notes")[0].metadata
    assert views["acme"].delete(where={}, namespace="notes") == 1
    assert (views["acme"].count(namespace="notes"), views["bolt"].count(namespace="notes")) == (0, 1)


async def test_namespaces_that_hold_records_are_listed_for_their_tenant_alone(store):
    """Deleted and expired records hold no namespace; the names are sorted, and their number is bounded."""
    acme, bolt = tenant_view(store, "acme"), tenant_view(store, "bolt")
    for i, name in enumerate(["c", "a", "b"]):
        await acme.aadd(vector(i), {"text": name}, f"u{i}", namespace=name)
    await bolt.aadd(vector(0), {"text": "of bolt"}, namespace="d")
    await acme.adelete(["u2"], namespace="b")
    await acme.aadd(vector(3), {"text": "short"}, namespace="e", expires_in_s=1e-6)
    assert await acme.anamespaces() == ["a", "c"]
    assert await acme.anamespaces(limit=1) == ["a"]
    assert await bolt.anamespaces() == ["d"]
    assert await tenant_view(store, DEFAULT_TENANT).anamespaces() == []


def test_put_stores_exported_records_for_the_tenant_of_the_view(store):
    """It writes into the namespace of its own tenant, also records that another tenant exported."""
    acme, bolt = tenant_view(store, "acme"), tenant_view(store, "bolt")
    acme.add(vector(1), {"text": "hers"}, "one", namespace="notes")
    bolt.put(acme.get(["one"], namespace="notes"))
    assert acme.delete(["one"], namespace="notes") == 1
    assert [record.uid for record in bolt.scan(namespace="notes")] == ["one"]


def test_tenant_view_refuses_a_read_without_a_namespace(store):
    """A read of all namespaces would include those of other tenants."""
    view = tenant_view(store, "acme")
    for read in (lambda: view.search(vector(0)), view.count, view.scan, lambda: view.get(["a"])):
        with pytest.raises(InvalidInputError) as caught:
            read()
        assert caught.value.field == "namespace"


def test_default_tenant_sees_records_written_without_a_tenant(store):
    """A store that the command line filled belongs to the default tenant when it is served."""
    store.add(vector(0), {"text": "from the command line"}, namespace="notes")
    assert tenant_view(store, DEFAULT_TENANT).count(namespace="notes") == 1
    assert tenant_view(store, "acme").count(namespace="notes") == 0


def test_tenant_view_stats_omit_the_counters_of_the_whole_store(store):
    """These counters cover the records of every tenant."""
    assert set(tenant_view(store, "acme").stats()) == {"engine", "dim", "metric", "index"}


def test_tenant_view_is_closed_only_by_closing_its_store():
    """Closing a view leaves the store open; closing the store closes its views."""
    with FAISSVectorStore(DIM) as store:
        with tenant_view(store, "acme") as view:
            view.add(vector(0), namespace="notes")
        view.add(vector(1), namespace="notes")
        assert tenant_view(store, "acme").count(namespace="notes") == 2
    with pytest.raises(ResourceClosedError):
        view.count(namespace="notes")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a" * 65, 'x" OR 1=1'])
def test_tenant_view_refuses_an_invalid_tenant_name(store, name):
    """Paths, quotes, and names that are empty or too long are refused."""
    with pytest.raises(InvalidInputError):
        tenant_view(store, name)
