"""A `DistributedVectorStore` loses nothing and repeats nothing when the network to a real server fails."""

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


def _start_in_thread(work):
    """Run `work` in a thread and return a function that waits for its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()

    def wait():
        thread.join(30)
        return result[0]

    return wait


def _wait_until(condition):
    """Repeat `condition` until it is true; the test's own timeout ends what never is."""
    while not condition():
        pass


def test_add_whose_answer_was_lost_stores_one_record(store, proxied_store, proxy):
    """The client repeats the add with the same uid."""
    assert proxied_store.dim == store.dim == 4
    proxy.swallow()
    adding = _start_in_thread(lambda: proxied_store.add([1, 2, 3, 4], {"n": 1}))
    _wait_until(lambda: store.count() == 1)
    proxy.cut()
    uid = adding()
    assert [record.uid for record in store.scan()] == [uid]


def test_delete_whose_answer_was_lost_returns_the_first_count(store, proxied_store, proxy):
    """The server answers the second attempt with the result of the first one."""
    uids = store.add_batch(np.eye(4))
    assert proxied_store.dim == 4
    proxy.swallow()
    deleting = _start_in_thread(lambda: proxied_store.delete(uids[:3]))
    _wait_until(lambda: store.count() == 1)
    proxy.cut()
    assert deleting() == 3


def test_delete_collection_whose_answer_was_lost_returns_true(store, proxied_store, proxy, url, collection, served):
    """The second attempt finds no collection, but the first one has deleted it."""
    store.add([1, 2, 3, 4])
    assert proxied_store.dim == 4
    with DistributedVectorStore(url, collection=collection, api_key=served.key) as observer:
        assert observer.count() == 1
        proxy.swallow()
        deleting = _start_in_thread(proxied_store.delete_collection)
        with pytest.raises(CollectionNotFoundError):
            _wait_until(lambda: observer.count() != 1)
        proxy.cut()
        assert deleting() is True
    assert proxied_store.delete_collection() is False


def test_refused_connection_is_retried_until_it_succeeds(proxied_store, proxy):
    """The proxy refuses two connections."""
    proxy.refuse(2)
    assert proxied_store.dim == 4
    assert proxy.connections >= 3


def test_cut_streams_resume_in_order_without_loss_or_repetition(store, proxied_store, proxy):
    """Adds, scans and searches are cut in the middle."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((2_500, 4)).astype(np.float32)
    assert proxied_store.dim == 4
    proxy.cut_after(20_000)
    uids = list(proxied_store.add_stream((vector, {"n": i}, None) for i, vector in enumerate(vectors)))
    assert len(set(uids)) == store.count() == 2_500
    proxy.cut_after(60_000)
    assert [record.metadata["n"] for record in proxied_store.scan_stream()] == list(range(2_500))
    proxy.cut_after(20_000)
    found = list(proxied_store.search_stream(vectors, 1))
    assert [match.uid for [match] in found] == uids
    assert proxy.connections >= 4


def test_add_stream_reads_its_source_at_most_a_few_batches_ahead(store):
    """The source is read as fast as the server stores."""
    taken = 0

    def source():
        nonlocal taken
        for i in range(10_000):
            taken = i
            yield [1, 2, 3, 4], None, f"{i:05d}"

    ahead = [taken - i for i, _ in enumerate(store.add_stream(source()))]
    assert len(ahead) == 10_000
    assert max(ahead) <= 5 * 500
    uids = [record.uid for record in store.scan_stream(after="00099")]
    assert uids == [f"{i:05d}" for i in range(100, 10_000)]


async def test_add_stream_takes_an_async_source_and_can_be_closed_early(store):
    """Records that were stored by then stay."""

    async def source():
        for i in range(5_000):
            yield [1, 2, 3, 4], {"i": i}, None

    adding = store.aadd_stream(source())
    await anext(adding)
    await adding.aclose()
    assert 500 <= await store.acount() < 5_000
    with pytest.raises(InvalidInputError, match=r"records\[1\]"):
        _ = [uid async for uid in store.aadd_stream([([1, 2, 3, 4], None, None), ([1, 2, 3], None, None)])]


def test_add_stream_raises_the_error_of_its_source(store):
    """A retryable error is not retried either: the rest of the source would be missing silently."""

    def source():
        yield from (([1, 2, 3, 4], None, None) for _ in range(10))
        raise EngineUnavailableError("the source is gone")

    with pytest.raises(EngineUnavailableError, match="the source is gone"):
        list(store.add_stream(source()))


def test_unreachable_server_is_named_in_the_error_without_the_api_key(served, collection):
    """The error is raised within `timeout_s`."""
    for url in ("http://127.0.0.1:9", "grpc://127.0.0.1:9"):
        with (
            DistributedVectorStore(url, collection=collection, api_key="secret-key", timeout_s=0.5) as store,
            pytest.raises(EngineUnavailableError, match=r"127\.0\.0\.1:9") as raised,
        ):
            store.count()
        assert "secret" not in str(raised.value)
        assert "secret" not in repr(store)


def test_count_raises_when_no_answer_arrives_within_timeout_s(proxy, collection, served):
    """The proxy drops everything that the server sends."""
    with DistributedVectorStore(proxy.url, collection=collection, api_key=served.key, dim=4, timeout_s=0.5) as store:
        proxy.swallow()
        with pytest.raises(EngineUnavailableError, match="did not answer within"):
            store.count()
        proxy.cut()


def test_wrong_api_key_raises_authentication_error(url, collection):
    """Callers can tell it from an unreachable server."""
    with (
        DistributedVectorStore(url, collection=collection, api_key="wrong") as store,
        pytest.raises(AuthenticationError),
    ):
        store.count()


def test_collection_is_created_only_when_dim_is_given(url, collection, served):
    """Another `dim` is refused, and a deleted collection is gone for other clients."""
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


async def test_concurrent_sync_and_async_searches_get_their_own_results(store):
    """They share one client."""
    vectors = np.eye(4, dtype=np.float32)
    uids = await store.aadd_batch(vectors)

    async def finds_its_vector(i):
        return [match.uid for match in await store.asearch(vectors[i % 4], 1)] == [uids[i % 4]]

    threads = [asyncio.to_thread(store.search, vectors[i % 4], 1) for i in range(20)]
    assert all(await asyncio.gather(*(finds_its_vector(i) for i in range(100))))
    assert [found[0].uid for found in await asyncio.gather(*threads)] == [uids[i % 4] for i in range(20)]


async def test_agent_searches_a_distributed_store(url, collection, served, embedder):
    """The agent's code is the same as on a local store."""
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
def test_invalid_url_raises_configuration_error(url):
    """The constructor checks it, and the message repeats no password."""
    with pytest.raises(ConfigurationError) as raised:
        DistributedVectorStore(url)
    assert "secret" not in str(raised.value)


def test_invalid_constructor_arguments_are_refused(tmp_path):
    """The constructor checks them before it opens anything; a `ca_file` is read at the first call."""
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
