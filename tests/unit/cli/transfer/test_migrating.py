"""Test that `saa migrate` moves everything to another store, and says what it did."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from uuid import uuid4

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.server.auth.key_source import open_keys
from super_advanced_agents.server.auth.key_store import checked_key_id, digest_of
from super_advanced_agents.stores.migration import FolderRecords
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.tenancy.catalog import SQLiteCatalog
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import AgentSettings, Declared
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import CollectionInfo

DIM = 8


def _fill(store, tenant, namespace, count, *, first=0, model="m", **options):
    numbers = range(first, first + count)
    rng = np.random.default_rng(count)
    return tenant_view(store, tenant).add_batch(
        rng.standard_normal((count, DIM)),
        [{"text": f"text {n} of {tenant}", "n": n, "deep": {"list": [1, 1.5, None, "ü"]}} for n in numbers],
        [f"u{n:05}" for n in numbers],
        namespace=namespace,
        model_id=model,
        **options,
    )


@pytest.fixture
def source(tmp_path):
    """Make a data folder with two tenants, a conversation, what expires, a collection, and settings of an agent."""
    data_dir = tmp_path / "source"
    with FAISSVectorStore(DIM, data_dir / "store") as store:
        _fill(store, "default", "guide", 900, sessions=[f"s{n % 7}" for n in range(900)])
        _fill(store, "default", "other", 3, model=None, expires_in_s=[None, 3_600, None], priorities=[1, None, 0.5])
        _fill(store, "acme", "guide", 20, sources=[f"{n}.md" for n in range(20)])
        tenant_view(store, "default").delete(["u00003"], namespace="guide")
        tenant_view(store, "default").update("u00004", {"n": None, "new": True}, namespace="guide")
    with _opened_catalog(data_dir) as (catalog, collections):
        asyncio.run(catalog.aput_agent("acme", "clerk", AgentSettings(description="knows files"), updated_at=5.0))
        _make_shoes(data_dir, catalog, collections, dim=2, records=[[1, 2], [3, 4]], created_at=7.0)
    return data_dir


@contextmanager
def _opened_catalog(data_dir):
    limits = {"max_collections": 10, "max_agents": 10}
    with (
        SQLiteCatalog(data_dir / "server" / "catalog.db", Declared(), **limits) as catalog,
        Collections(catalog, data_dir / "collections", max_open=2) as collections,
    ):
        yield catalog, collections


def _make_shoes(data_dir, catalog, collections, *, dim, records, created_at=8.0):
    info = CollectionInfo(name="shoes", dim=dim, metric="dot", index="flat", storage="fp32", created_at=created_at)
    collections.create("acme", info, exist_ok=False)
    folder = data_dir / "collections" / catalog.collection("acme", "shoes").id
    with FAISSVectorStore(dim, folder, metric="dot", index="flat") as shoes:
        shoes.add_batch(records, [{"price": n} for n in range(len(records))], list("ab"[: len(records)]))


def _checksums(folder):
    return asyncio.run(FolderRecords(folder).checksums(lambda _: None))


def test_migrate_moves_everything_and_a_second_run_changes_nothing(saa, source, tmp_path):
    """Each namespace of each tenant is equal, by count and checksum; the source is as it was."""
    before, target = _checksums(source / "store"), tmp_path / "target"
    arguments = ("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{target}")
    report = saa.json(*arguments)
    assert report["equal"]
    assert (report["records"], report["copied"], report["deleted"]) == (924, 924, 0)
    assert (report["agents"], report["collections"], report["models"]) == (1, 1, ["m"])
    assert _checksums(target / "store") == before == _checksums(source / "store")
    assert {tuple(each.values())[:4] for each in report["namespaces"]} == {
        ("default", None, "guide", 899),
        ("default", None, "other", 3),
        ("acme", None, "guide", 20),
        ("acme", "shoes", "default", 2),
    }
    again = saa.json(*arguments)
    assert (again["equal"], again["records"], again["copied"], again["deleted"]) == (True, 924, 0, 0)
    exports = [json.loads(line) for line in saa("export", "-", "--data-dir", target).stdout.splitlines()]
    [agent] = [line for line in exports if line.get("kind") == "agent"]
    assert (agent["settings"]["description"], agent["updated_at"]) == ("knows files", 5.0)
    [collection] = [line for line in exports if line.get("kind") == "collection"]
    assert (collection["metric"], collection["created_at"]) == ("dot", 7.0)


def test_migrate_catches_up_with_what_was_written_since(saa, source, tmp_path):
    """New, changed and deleted records, new collections and settings."""
    arguments = ("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{tmp_path / 'target'}")
    saa(*arguments)
    with FAISSVectorStore(DIM, source / "store") as store:
        _fill(store, "new", "fresh", 5)
        view = tenant_view(store, "default")
        view.update("u00010", {"text": "another text"}, namespace="guide")
        view.delete([f"u{n:05}" for n in range(20, 30)], namespace="guide")
    report = saa.json(*arguments)
    assert (report["equal"], report["records"], report["copied"], report["deleted"]) == (True, 919, 6, 10)
    assert _checksums(source / "store") == _checksums(tmp_path / "target" / "store")


def test_migrate_repairs_a_target_that_was_changed(saa, source, tmp_path):
    """What differs is written again, and what the source does not have is deleted."""
    target = tmp_path / "target"
    arguments = ("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{target}")
    saa(*arguments)
    with FAISSVectorStore(DIM, target / "store") as store:
        _fill(store, "stranger", "guide", 5)
        view = tenant_view(store, "acme")
        view.update("u00001", {"n": 17}, namespace="guide")
        view.delete(["u00002"], namespace="guide")
    report = saa.json(*arguments)
    assert (report["equal"], report["copied"], report["deleted"]) == (True, 2, 5)
    assert _checksums(source / "store") == _checksums(target / "store")


def test_migrate_refuses_what_it_cannot_move_before_anything_is_done(saa, source, tmp_path):
    """One sentence, and the next step."""
    filled, wide, listed = tmp_path / "filled", tmp_path / "wide", tmp_path / "listed"
    with _opened_catalog(listed) as (catalog, collections):
        _make_shoes(listed, catalog, collections, dim=2, records=[[1, 2]])
    with FAISSVectorStore(DIM, filled / "store") as store:
        _fill(store, "default", "guide", 1)
    with FAISSVectorStore(DIM + 1, wide / "store"):
        pass
    before = _checksums(filled / "store")
    for source_url, target_url, message, code in (
        (f"faiss:{tmp_path / 'none'}", f"faiss:{tmp_path / 'target'}", "there is no store", 1),
        (f"faiss:{source}", f"faiss:{source}", "one store", 2),
        (f"faiss:{source}", f"faiss:{filled}", "has records, collections or settings already", 1),
        (f"faiss:{source}", f"faiss:{listed}", "has records, collections or settings already", 1),
        (f"faiss:{source}", f"faiss:{wide}", f"vectors of {DIM + 1} numbers", 2),
        (f"faiss:{source}", "nothing://x", "no store has a URL", 2),
        ("http://127.0.0.1:9", f"faiss:{tmp_path / 'target'}", "cannot be moved", 2),
    ):
        result = saa("migrate", "--from", source_url, "--to", target_url, code=code)
        assert message in result.stderr
        assert "Hint:" in result.stderr
    assert _checksums(filled / "store") == before
    assert saa("export", "-", "--data-dir", listed).stdout.count('"records":1,"settings":1') == 1
    assert not (tmp_path / "target").exists()


def test_migrate_to_postgresql_and_back_gives_an_equal_data_folder(saa, source, tmp_path, postgres_schema_url):
    """Memories, collections and settings of all tenants; what was written meanwhile is caught up with.

    The tables there are in partitions.
    """
    there = saa.json("migrate", "--from", f"faiss:{source}", "--to", f"{postgres_schema_url}&partitions=2")
    assert (there["equal"], there["records"], there["collections"], there["agents"]) == (True, 924, 1, 1)
    with FAISSVectorStore(DIM, source / "store") as store:
        _fill(store, "new", "fresh", 5)
        tenant_view(store, "default").delete(["u00020"], namespace="guide")
    again = saa.json("migrate", "--from", f"faiss:{source}", "--to", f"{postgres_schema_url}&partitions=2")
    assert (again["equal"], again["copied"], again["deleted"]) == (True, 5, 1)
    back = tmp_path / "back"
    home = saa.json("migrate", "--from", postgres_schema_url, "--to", f"faiss:{back}")
    assert (home["equal"], home["collections"], home["agents"]) == (True, 1, 1)
    assert _checksums(source / "store") == _checksums(back / "store")
    assert home["namespaces"] == again["namespaces"]


def test_migrate_out_of_postgresql_needs_a_store_there(saa, tmp_path, postgres_schema_url):
    """An empty schema, and a server that cannot be reached, are told in one sentence."""
    for url, message in (
        (postgres_schema_url, "there is no store in the schema"),
        ("postgresql://nobody@127.0.0.1:9/none", "127.0.0.1:9"),
    ):
        result = saa("migrate", "--from", url, "--to", f"faiss:{tmp_path / 'target'}", code=1)
        assert message in result.stderr
        assert "Hint:" in result.stderr
    assert not (tmp_path / "target").exists()


def _is_known(settings, key):
    # Whether a server with these settings would know the key.
    with open_keys(settings) as table:
        [record] = [each for each in table.records() if each.id == checked_key_id(key)]
        return record.state == "valid" and record.digest == digest_of(key, table.secret)


def test_migrate_moves_api_keys_as_hashes(saa, source, tmp_path, postgres_schema_url):
    """Callers keep their keys there and back; a revocation follows, and one at the target stays."""
    made = [saa.json("keys", "create", "--scope", "admin", "--data-dir", source) for _ in range(3)]
    assert saa.json("migrate", "--from", f"faiss:{source}", "--to", postgres_schema_url)["keys"] == 3
    there = Settings(data_dir=tmp_path / "servers", store=postgres_schema_url)
    assert all(_is_known(there, each["key"]) for each in made)
    with open_keys(there) as table:
        table.revoke(made[0]["id"])
    saa("keys", "revoke", made[1]["id"], "--data-dir", source)
    assert saa.json("migrate", "--from", f"faiss:{source}", "--to", postgres_schema_url)["keys"] == 2
    assert [_is_known(there, each["key"]) for each in made] == [False, False, True]
    back = tmp_path / "back"
    saa("migrate", "--from", postgres_schema_url, "--to", f"faiss:{back}")
    assert [_is_known(Settings(data_dir=back), each["key"]) for each in made] == [False, False, True]
    other = tmp_path / "other"
    saa("keys", "create", "--scope", "admin", "--data-dir", other)
    refused = saa("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{other}", code=2)
    assert "API keys of its own" in refused.stderr
    assert saa.json("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{other}", "--no-keys")["keys"] == 0


def test_migrate_catches_up_with_what_was_deleted_from_the_catalog(saa, source, tmp_path):
    """Deleted settings go, and a collection that was made anew has the records of the new one alone."""
    target = tmp_path / "target"
    arguments = ("migrate", "--from", f"faiss:{source}", "--to", f"faiss:{target}")
    saa(*arguments)
    with _opened_catalog(source) as (catalog, collections):
        asyncio.run(catalog.adelete_agent("acme", "clerk"))
        asyncio.run(collections.adelete("acme", "shoes"))
        _make_shoes(source, catalog, collections, dim=3, records=[[1, 2, 3]])
    report = saa.json(*arguments)
    assert report["equal"]
    [shoes] = [each for each in report["namespaces"] if each["collection"] == "shoes"]
    assert shoes["records"] == 1
    exports = [json.loads(line) for line in saa("export", "-", "--data-dir", target).stdout.splitlines()]
    assert not [line for line in exports if line.get("kind") == "agent"]
    assert [line["dim"] for line in exports if line.get("kind") == "collection"] == [3]


def test_migrate_to_milvus_with_a_database_beside_it_moves_collections_and_settings(
    saa, source, tmp_path, milvus_url, postgres_schema_url
):
    """Collections become collections of the Milvus server; all of it comes back equal."""
    there = f"{milvus_url}/migrated_{uuid4().hex}"
    report = saa.json("migrate", "--from", f"faiss:{source}", "--to", there, "--to-state", postgres_schema_url)
    assert (report["equal"], report["records"], report["collections"], report["agents"]) == (True, 924, 1, 1)
    back = tmp_path / "back"
    home = saa.json("migrate", "--from", there, "--from-state", postgres_schema_url, "--to", f"faiss:{back}")
    assert (home["equal"], home["collections"], home["agents"]) == (True, 1, 1)
    assert home["namespaces"] == report["namespaces"]
    refused = saa(
        "migrate", "--from", f"faiss:{source}", "--from-state", postgres_schema_url, "--to", "faiss:x", code=2
    )
    assert "holds its own catalog" in refused.stderr


def test_migrate_to_milvus_and_back_gives_equal_memories(saa, source, tmp_path, milvus_url):
    """Milvus has no place for collections and settings, which is said."""
    there = f"{milvus_url}/migrated_{uuid4().hex}"
    report = saa.json("migrate", "--from", f"faiss:{source}", "--to", there)
    assert (report["equal"], report["records"], report["collections"]) == (True, 922, 0)
    with FAISSVectorStore(DIM, source / "store") as store:
        _fill(store, "new", "fresh", 5)
        tenant_view(store, "default").delete(["u00020"], namespace="guide")
    result = saa("migrate", "--from", f"faiss:{source}", "--to", there)
    assert "Collections, settings" in result.stderr
    back = tmp_path / "back"
    assert saa.json("migrate", "--from", there, "--to", f"faiss:{back}")["equal"]
    assert _checksums(source / "store") == _checksums(back / "store")
    missing = saa("migrate", "--from", f"{milvus_url}/missing", "--to", f"faiss:{tmp_path / 'other'}", code=1)
    assert "there is no collection 'missing'" in missing.stderr
