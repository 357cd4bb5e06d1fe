"""Tests of servers and collections that a store cannot use: one sentence each, before anything is stored."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc
from tests.milvus_engine import own_server, stop_own_server
from tests.unit.stores.milvus.conftest import DIM

from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError
from super_advanced_agents.stores import MilvusVectorStore
from super_advanced_agents.stores.milvus.engine import connection
from super_advanced_agents.stores.milvus.engine.connection import version_of
from super_advanced_agents.stores.opening import open_store


class _OldServer(milvus_pb2_grpc.MilvusServiceServicer):
    """Answer as a server of version 2.2.9 does."""

    def Connect(self, request, context):  # noqa: N802
        del request, context
        info = common_pb2.ServerInfo(build_tags="v2.2.9")
        return milvus_pb2.ConnectResponse(status=common_pb2.Status(), server_info=info, identifier=1)

    def GetVersion(self, request, context):  # noqa: N802
        del request, context
        return milvus_pb2.GetVersionResponse(status=common_pb2.Status(), version="v2.2.9")


@pytest.fixture
def old_server(milvus_url: str) -> Iterator[str]:
    """The URL of a server that speaks the protocol and is too old."""
    del milvus_url  # gRPC's threads exist from then on
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(_OldServer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"milvus://127.0.0.1:{port}"
        server.stop(None).wait()


def test_server_that_is_too_old_is_refused(old_server: str):
    """The message names both versions; nothing is created."""
    with pytest.raises(
        ConfigurationError, match=r"Milvus at 127\.0\.0\.1:\d+ has version v2\.2\.9.*upgrade it to 2\.3"
    ):
        MilvusVectorStore(f"{old_server}/notes", DIM)


@pytest.mark.parametrize(
    ("text", "version"), [("v2.3.5-lite", (2, 3, 5)), ("2.6.0", (2, 6, 0)), ("v2.5-dev", (2, 5)), ("master", (0,))]
)
def test_version_is_read_from_what_the_server_says(text: str, version: tuple[int, ...]):
    """A version without numbers counts as the oldest."""
    assert version_of(text) == version


def test_unreachable_server_is_named(milvus_url: str):
    """The message has the address and no password."""
    del milvus_url
    with pytest.raises(EngineUnavailableError, match=r"Milvus at 127\.0\.0\.1:9 does not answer") as refused:
        open_store("milvus://ann:secret@127.0.0.1:9/notes", dim=DIM)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": DIM + 1}, f"holds vectors of {DIM} numbers, not of {DIM + 1}"),
        ({"dim": DIM, "metric": "dot"}, "has the metric 'cosine', not 'dot'"),
        ({"dim": 1}, "dim must be an integer from 2 to 32768"),
        ({"dim": DIM, "index": "tree"}, "index must be one of"),
        ({"dim": DIM, "metric": "L2"}, "metric must be one of"),
        ({"dim": DIM, "partitions": 0}, "partitions must be an integer"),
    ],
)
def test_argument_that_does_not_fit_the_collection_is_refused(
    store: MilvusVectorStore, collection_url: str, arguments, message: str
):
    """The records of the collection stay."""
    store.add(np.ones(DIM), {"v": 1})
    with pytest.raises(ConfigurationError, match=message):
        MilvusVectorStore(collection_url, **arguments)
    assert store.count() == 1


def test_storage_that_milvus_does_not_have_is_refused(collection_url: str):
    """It would be ignored without a word."""
    with pytest.raises(ConfigurationError, match="no vectors of the format 'fp16'"):
        open_store(collection_url, dim=DIM, storage="fp16")


def test_collection_of_others_is_left_alone(milvus_url: str):
    """A collection that this package did not make may have any schema."""
    name = f"others_{uuid4().hex}"
    client = MilvusClient(uri=milvus_url.replace("milvus:", "http:"), dedicated=True)
    schema = client.create_schema(auto_id=True, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    client.create_collection(name, schema=schema)
    with pytest.raises(ConfigurationError, match="was not made by this package"):
        MilvusVectorStore(f"{milvus_url}/{name}", DIM)
    client.drop_collection(name)
    client.close()


@pytest.fixture(scope="module")
def guarded(milvus_url: str) -> str:
    """The URL of a server with accounts; that of the default one is root, with the password Milvus."""
    del milvus_url
    return own_server("--authorization")


def test_wrong_password_is_refused_and_not_shown(guarded: str):
    """The right one opens the store."""
    url = guarded.replace("milvus://", "milvus://{}@") + "/notes"
    for credential in ("root:wrong-one", "nobody:wrong-one"):
        with pytest.raises(ConfigurationError, match="refused the credential") as refused:
            MilvusVectorStore(url.format(credential), DIM)
        assert "wrong-one" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="refused the credential"):
        MilvusVectorStore(f"{guarded}/notes", DIM)
    with MilvusVectorStore(url.format("root:Milvus"), DIM, partitions=1) as store:
        store.add(np.ones(DIM), None, "a")
        assert [record.uid for record in store.scan()] == ["a"]
    with MilvusVectorStore(f"{guarded}/notes", DIM, api_key="root:Milvus") as store:
        assert store.stats()["server_version"]


def test_database_that_does_not_exist_is_named(milvus_url: str):
    """Nothing is created in another one."""
    with pytest.raises(ConfigurationError, match="has no database 'nowhere'"):
        MilvusVectorStore(f"{milvus_url}/notes?database=nowhere", DIM)


def test_records_of_a_database_are_in_that_one_alone(milvus_url: str):
    """A collection of the same name in the default database gets nothing of them."""
    name = f"same_{uuid4().hex}"
    client = MilvusClient(uri=milvus_url.replace("milvus:", "http:"), dedicated=True)
    client.create_database(name)
    there = f"{milvus_url}/{name}?database={name}"
    with (
        MilvusVectorStore(there, DIM, partitions=1) as store,
        MilvusVectorStore(f"{milvus_url}/{name}", DIM, partitions=1) as other,
    ):
        assert store.add_batch(np.ones((2, DIM)), None, ["a", "b"]) == ["a", "b"]
        assert store.delete(["a"]) == 1
        assert (store.count(), other.count()) == (1, 0)
    MilvusVectorStore.drop(there)
    MilvusVectorStore.drop(f"{milvus_url}/{name}")
    client.drop_database(name)
    client.close()


def test_collection_whose_creator_was_killed_on_the_way_is_completed(milvus_url: str, monkeypatch):
    """Partitions and index that are missing are made by the next process that opens it."""
    url = f"{milvus_url}/half_{uuid4().hex}"

    def crash(self, name, partition, **options):
        raise EngineUnavailableError("the process was killed here")

    with monkeypatch.context() as patched:
        patched.setattr(MilvusClient, "create_partition", crash)
        with pytest.raises(EngineUnavailableError):
            MilvusVectorStore(url, DIM, partitions=2)
    with MilvusVectorStore(url, DIM) as store:
        store.add(np.ones(DIM), {"text": "here"}, "a")
        assert [match.uid for match in store.search(np.ones(DIM))] == ["a"]
    MilvusVectorStore.drop(url)


def test_index_is_that_of_the_collection(milvus_url: str):
    """One that is opened as exact although it has a graph still returns k rows where k exist."""
    url = f"{milvus_url}/indexed_{uuid4().hex}"
    with MilvusVectorStore(url, DIM, index="hnsw", partitions=1) as store:
        assert store.stats()["index"] == "hnsw"
    with MilvusVectorStore(url, DIM, index="flat") as store:
        assert store.stats()["index"] == "hnsw"
    MilvusVectorStore.drop(url)


def test_call_on_a_server_that_stopped_is_a_typed_error(milvus_url: str, monkeypatch):
    """Reads and writes say that the engine does not answer, and the store closes."""
    del milvus_url
    monkeypatch.setattr(connection, "_TIMEOUT_S", 2.0)
    url = own_server()
    with MilvusVectorStore(f"{url}/notes", DIM, partitions=1) as store:
        store.add(np.ones(DIM), {"text": "here"}, "a")
        stop_own_server(url)
        for call in (
            store.count,
            lambda: store.search(np.ones(DIM)),
            lambda: store.add(np.ones(DIM), None, "b"),
        ):
            with pytest.raises(EngineUnavailableError, match="does not answer"):
                call()
