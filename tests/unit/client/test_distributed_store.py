"""Clients of a real server on a network that fails: nothing is lost, nothing is done twice, nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from super_advanced_agents import AsyncLLMAgent, DistributedVectorStore
from super_advanced_agents.errors import (
    AuthenticationError,
    CollectionNotFoundError,
    ConfigurationError,
    DimensionMismatchError,
    EngineUnavailableError,
    InvalidInputError,
)


def _in_thread(work):
    """Start `work`; returns a function that waits for its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()

    def wait():
        thread.join(30)
        return result[0]

    return wait


def _until(condition):
    """Ask until it is so; the test's own timeout ends what never is."""
    while not condition():
        pass


def test_a_write_whose_answer_was_lost_is_made_once(store, through, proxy):
    """It is sent again under the names that it had."""
    assert through.dim == store.dim == 4
    proxy.swallow()
    adding = _in_thread(lambda: through.add([1, 2, 3, 4], {"n": 1}))
    _until(lambda: store.count() == 1)
    proxy.cut()
    uid = adding()
    assert [record.uid for record in store.scan()] == [uid]


def test_a_deletion_whose_answer_was_lost_says_what_it_did(store, through, proxy):
    """The second attempt is told what the first one deleted."""
    uids = store.add_batch(np.eye(4))
    assert through.dim == 4
    proxy.swallow()
    deleting = _in_thread(lambda: through.delete(uids[:3]))
    _until(lambda: store.count() == 1)
    proxy.cut()
    assert deleting() == 3


def test_a_deletion_of_a_collection_whose_answer_was_lost_says_that_it_was_there(store, through, proxy, served):
    """The second attempt is told what the first one did, not that there is no such collection."""
    store.add([1, 2, 3, 4])
    assert through.dim == 4
    url, collection = store._connection.url, store._collection
    with DistributedVectorStore(url, collection=collection, api_key=served.key) as watching:
        assert watching.count() == 1
        proxy.swallow()
        deleting = _in_thread(through.delete_collection)
        with pytest.raises(CollectionNotFoundError):
            _until(lambda: watching.count() != 1)
        proxy.cut()
        assert deleting() is True
    assert through.delete_collection() is False


def test_a_connection_that_cannot_be_made_is_tried_again(through, proxy):
    """Until it can."""
    proxy.refuse(2)
    assert through.dim == 4
    assert proxy.connections >= 3


def test_streams_go_on_where_they_were_cut(store, through, proxy):
    """Nothing is missing, nothing comes twice, and all is in order."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((2_500, 4)).astype(np.float32)
    assert through.dim == 4
    proxy.cut_after(20_000)
    uids = list(through.add_stream((vector, {"n": i}, None) for i, vector in enumerate(vectors)))
    assert len(set(uids)) == store.count() == 2_500
    proxy.cut_after(60_000)
    assert [record.metadata["n"] for record in through.scan_stream()] == list(range(2_500))
    proxy.cut_after(20_000)
    found = list(through.search_stream(vectors, 1))
    assert [match.uid for [match] in found] == uids
    assert proxy.connections >= 4


def test_streams_take_no_more_than_they_can_hold(store):
    """The source is read as the server keeps up: never more than a few batches ahead."""
    taken = 0

    def source():
        nonlocal taken
        for i in range(10_000):
            taken = i
            yield [1, 2, 3, 4], None, f"{i:05d}"

    ahead = [taken - i for i, _ in enumerate(store.add_stream(source()))]
    assert len(ahead) == 10_000
    assert max(ahead) <= 5 * 500
    seen = [record.uid for record in store.scan_stream(after="00099")]
    assert seen == [f"{i:05d}" for i in range(100, 10_000)]


async def test_streams_take_asynchronous_sources_and_can_be_left(store):
    """What was stored by then stays."""

    async def source():
        for i in range(5_000):
            yield [1, 2, 3, 4], {"i": i}, None

    adding = store.aadd_stream(source())
    await anext(adding)
    await adding.aclose()
    assert 500 <= await store.acount() < 5_000
    with pytest.raises(InvalidInputError, match=r"records\[1\]"):
        _ = [uid async for uid in store.aadd_stream([([1, 2, 3, 4], None, None), ([1, 2, 3], None, None)])]


def test_a_source_that_fails_ends_its_stream(store):
    """With its own error, also one that a call would be made again for: else the rest would be missing silently."""

    def source():
        yield from (([1, 2, 3, 4], None, None) for _ in range(10))
        raise EngineUnavailableError("the source is gone")

    with pytest.raises(EngineUnavailableError, match="the source is gone"):
        list(store.add_stream(source()))


def test_a_server_that_is_not_there_is_named(served, collection):
    """Within the time that was given; the key is not told."""
    for url in ("http://127.0.0.1:9", "grpc://127.0.0.1:9"):
        with (
            DistributedVectorStore(url, collection=collection, api_key="secret-key", timeout_s=0.5) as store,
            pytest.raises(EngineUnavailableError, match=r"127\.0\.0\.1:9") as raised,
        ):
            store.count()
        assert "secret" not in str(raised.value)
        assert "secret" not in repr(store)


def test_a_server_that_does_not_answer_is_given_up(through, proxy):
    """After `timeout_s`, with the error that says so."""
    through._connection._timeout_s = 0.5
    proxy.swallow()
    with pytest.raises(EngineUnavailableError, match="did not answer within"):
        through.count()
    proxy.cut()


def test_a_stranger_is_told_so(url, collection):
    """By an error of its own, which is not tried again."""
    with (
        DistributedVectorStore(url, collection=collection, api_key="wrong") as store,
        pytest.raises(AuthenticationError),
    ):
        store.count()


def test_a_collection_is_made_only_when_a_length_was_given(url, collection, served):
    """And one of another length is refused; deleted, it is gone for others."""
    with DistributedVectorStore(url, collection=collection, api_key=served.key) as store:
        with pytest.raises(CollectionNotFoundError):
            store.add([1.0])
        with DistributedVectorStore(url, collection=collection, api_key=served.key, dim=3) as maker:
            assert maker.dim == 3
            assert store.dim == 3
            with (
                DistributedVectorStore(url, collection=collection, api_key=served.key, dim=5) as other,
                pytest.raises(DimensionMismatchError, match="3 numbers, not 5"),
            ):
                other.count()
            assert maker.delete_collection()
            assert not store.delete_collection()
            assert maker.add([1, 2, 3])  # which makes it anew
            assert store.delete_collection()
        with pytest.raises(CollectionNotFoundError):
            store.count()


async def test_many_callers_of_both_kinds_share_a_client(store):
    """Each gets its own answer."""
    vectors = np.eye(4, dtype=np.float32)
    uids = await store.aadd_batch(vectors)

    async def ask(i):
        return [match.uid for match in await store.asearch(vectors[i % 4], 1)] == [uids[i % 4]]

    threads = [asyncio.to_thread(store.search, vectors[i % 4], 1) for i in range(20)]
    assert all(await asyncio.gather(*(ask(i) for i in range(100))))
    assert [found[0].uid for found in await asyncio.gather(*threads)] == [uids[i % 4] for i in range(20)]


async def test_an_agent_uses_it_as_any_other_store(url, collection, served, embedder):
    """Unchanged."""
    store = DistributedVectorStore(url, collection=collection, api_key=served.key, dim=embedder.dim)
    async with store:
        agent = AsyncLLMAgent("remote", store, embedder)
        await agent.aadd_text_memories(["The Louvre is a museum in Paris.", "Cats sleep all day."])
        [found] = await agent.asearch_text("art gallery", 1)
        assert found.metadata["text"] == "The Louvre is a museum in Paris."
        [found] = await agent.ahybrid_search("animals", keyword="cats", top_k=1)
        assert found.metadata["text"] == "Cats sleep all day."


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:80",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "grpc://host/path",
        "http://host?x=1",
        "http://h:x",
    ],
)
def test_what_is_no_address_is_refused(url):
    """When the client is made, and no password is repeated."""
    with pytest.raises(ConfigurationError) as raised:
        DistributedVectorStore(url)
    assert "secret" not in str(raised.value)


def test_other_arguments_are_looked_at_too(tmp_path):
    """Also before anything is opened."""
    for options in (
        {"timeout_s": 0},
        {"timeout_s": "5"},
        {"dim": 0},
        {"dim": 1.5},
        {"api_key": ""},
        {"api_key": "a\n"},
    ):
        with pytest.raises(ConfigurationError):
            DistributedVectorStore("http://127.0.0.1", **options)
    with pytest.raises(ConfigurationError, match="ca_file"):
        DistributedVectorStore("grpc://127.0.0.1", ca_file=tmp_path)
    with pytest.raises(InvalidInputError, match="collection"):
        DistributedVectorStore("http://127.0.0.1", collection="../x")
    with (
        DistributedVectorStore("https://127.0.0.1:9", ca_file=tmp_path / "none.pem") as store,
        pytest.raises(ConfigurationError, match="cannot be read"),
    ):
        store.count()
