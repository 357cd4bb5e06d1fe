"""Tests of versions: a version changes when searches may find something else, and only then."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.stores.conftest import DIM, sealed, vectors
from tests.unit.stores.faiss.maintenance.reembedding.conftest import Model

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime import clock as clock_module
from super_advanced_agents.errors import InvalidInputError, ModelMismatchError, ResourceClosedError
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

ONE = vectors(1)[0]
NAMES = ("a", "b")


def _found(store, namespace):
    return sorted((match.uid, match.metadata["tag"]) for match in store.search(ONE, 100, namespace=namespace))


_steps = st.tuples(
    st.sampled_from(["add", "update", "delete", "remove", "everywhere", "put"]),
    st.sampled_from(NAMES),
    st.sampled_from(["u1", "u2", "u3"]),
)


@settings(max_examples=40)
@given(steps=st.lists(_steps, max_size=12))
def test_search_results_change_only_when_the_version_changes(steps):
    """Equal versions mean equal results, and writes to other namespaces leave a version unchanged."""
    tags = itertools.count()
    with FAISSVectorStore(DIM) as store:
        seen = {name: {} for name in NAMES}
        for kind, namespace, uid in [("add", "a", "u0"), *steps]:
            before = {name: store.version(name) for name in NAMES}
            if kind == "add":
                store.add(ONE, {"tag": next(tags)}, uid, namespace=namespace)
            elif kind == "update":
                store.update(uid, {"tag": next(tags)}, namespace=namespace)
            elif kind == "delete":
                store.delete([uid], namespace=namespace)
            elif kind == "remove":
                store.delete(where={"tag": {"$gte": 3}}, namespace=namespace)
            elif kind == "everywhere":
                store.delete(where={"tag": {"$lt": 2}})
            else:
                store.put(store.get([uid], namespace=namespace))
            for name in NAMES:
                version, found = store.version(name), _found(store, name)
                assert seen[name].setdefault(version, found) == found
                assert version >= before[name]
                assert name == namespace or kind == "everywhere" or version == before[name]
            assert store.version() == max(store.version(), *(store.version(name) for name in NAMES))


def test_version_changes_only_when_searches_see_the_write(opened, monkeypatch):
    """Between a commit and the moment when searches see it, the version is the old one."""
    store = opened(None)
    store.add(ONE, namespace="a")
    seen, apply = {}, Index.apply

    def search_and_apply(index, change, vectors):
        seen[store.version("a")] = len(store.search(ONE, namespace="a"))
        apply(index, change, vectors)

    monkeypatch.setattr(Index, "apply", search_and_apply)
    store.add(ONE, namespace="a")
    assert list(seen.values()) == [1]
    assert store.version("a") not in seen


def test_refused_writes_and_sealing_leave_the_version_unchanged(opened):
    """Sealing shows the same records from another place."""
    store = opened(buffer_rows=16, index="hnsw")
    store.add_batch(vectors(40), namespace="a", model_id="one")
    version = store.version("a")
    with pytest.raises(ModelMismatchError):
        store.add(ONE, namespace="a", model_id="two")
    assert store.delete(["nobody"], namespace="a") == 0
    assert sealed(store) >= 1
    assert store.version("a") == version


def _moved_clock(monkeypatch):
    """Give records a clock that the test moves; return the seconds of its two sources, the wall's first."""
    now = [1_000_000.0, 0.0]
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[1]))
    return now


def test_expiry_changes_the_version_of_its_namespace_alone(monkeypatch, opened):
    """It changes when searches stop returning the record; a clock that jumps back changes nothing."""
    clock = _moved_clock(monkeypatch)
    store = opened(None)
    store.add_batch([ONE] * 2, namespace="a", expires_in_s=[10.0, 20.0])
    store.add(ONE, namespace="b")
    versions = [store.version("a")]
    other = store.version("b")
    for moment, left in ((9.9, 2), (10.0, 1), (19.9, 1), (20.0, 0)):
        clock[0] = 1_000_000.0 + moment
        versions.append(store.version("a"))
        assert len(store.search(ONE, 5, namespace="a")) == left
    assert versions[0] == versions[1] < versions[2] == versions[3] < versions[4]
    assert store.version("b") == other
    clock[0] = 1_000_015.0
    assert store.version("a") == versions[4]
    assert store.version("b") == other
    assert store.search(ONE, 5, namespace="a") == []


def test_expiry_changes_the_version_of_a_reopened_store(monkeypatch, tmp_path):
    """The store knows what will expire once it has been searched."""
    clock = _moved_clock(monkeypatch)
    with FAISSVectorStore(DIM, tmp_path) as store:
        store.add(ONE, namespace="a", expires_in_s=10.0)
        last = store.version("a")
    with FAISSVectorStore(DIM, tmp_path) as store:
        version = store.version("a")
        assert version > last, "an older opening's version must not come back"
        assert len(store.search(ONE, namespace="a")) == 1
        assert store.version("a") == version
        clock[0] += 10.0
        assert store.version("a") > version


def test_writes_of_one_tenant_leave_the_version_of_another_unchanged(opened):
    """Both tenants have a namespace of the same name."""
    store = opened(None)
    acme, bolt = tenant_view(store, "acme"), tenant_view(store, "bolt")
    before = acme.version("notes"), bolt.version("notes")
    acme.add(ONE, namespace="notes")
    assert acme.version("notes") > before[0]
    assert bolt.version("notes") == before[1]
    with pytest.raises(InvalidInputError):
        acme.version()


def test_reembedding_changes_the_version_of_every_namespace(opened):
    """After the switch no earlier result is valid."""
    store = opened(None)
    store.add(ONE, {"text": "one"}, namespace="a")
    store.add(ONE, {"text": "two"}, namespace="b")
    before = [store.version(name) for name in NAMES]
    store.reembed(Model("another", 24))
    assert all(store.version(name) > version for name, version in zip(NAMES, before, strict=True))


def test_version_raises_after_close(opened):
    """Every operation of a closed store raises this error."""
    store = opened(None)
    store.close()
    with pytest.raises(ResourceClosedError):
        store.version("a")
