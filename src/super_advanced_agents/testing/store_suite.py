"""`VectorStoreSuite`, a pytest suite that every vector store must pass.

Subclass it and override `make_store`; pytest then runs all tests.

class TestMyStore(VectorStoreSuite):
    @pytest.fixture
    def make_store(self) -> Iterator[MakeStore]:
        with ExitStack() as stack:
            yield lambda dim: stack.enter_context(MyStore(dim))
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import numpy as np
import pytest

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import InvalidInputError, ResourceClosedError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.testing.store_changes import StoreChanges, StoreModels
from super_advanced_agents.testing.store_duplicates import StoreDuplicates
from super_advanced_agents.testing.store_keywords import StoreKeywords
from super_advanced_agents.testing.store_life import StoreLife
from super_advanced_agents.testing.store_metric import StoreMetric
from super_advanced_agents.testing.store_record_fields import StoreRecordFields
from super_advanced_agents.testing.store_similarity import StoreSimilarity
from super_advanced_agents.testing.store_validation import DIM, MakeStore, StoreValidation, at
from super_advanced_agents.types import Match, Metadata

__all__ = ["DIM", "MakeStore", "VectorStoreSuite", "at"]


def _uids(matches: list[Match]) -> list[str]:
    return [match.uid for match in matches]


NAMESPACES = ["ann@example.com", "a/b", "..", "%2e", " ", "\u00e4", "a\u0308", "\U0001f600", "a" * 256]
"""Texts that are namespaces, two of which look the same."""


class VectorStoreSuite(
    StoreChanges,
    StoreModels,
    StoreValidation,
    StoreDuplicates,
    StoreLife,
    StoreKeywords,
    StoreRecordFields,
    StoreSimilarity,
    StoreMetric,
):
    """Test that a vector store behaves as the base class `VectorStore` documents.

    A subclass overrides the fixture `make_store`, whose value `make_store(dim)` returns an empty store. If its metric
    is not cosine, the subclass says so: `metric = "dot"`.
    """

    limits = Limits()

    # -- adding ---------------------------------------------------------------------------------------------------

    def test_get_returns_every_field_of_an_added_record(self, store: VectorStore) -> None:
        """`get` returns an added record's vector, metadata, text, source, model and times."""
        metadata: Metadata = {"text": "caf\u00e9 \N{SNOWMAN}", "n": [1, 2.5, None, {"a": True}], "big": 2**63}
        vector = np.array([3.0, 0.0, -4.0, 0.5], dtype=np.float32)
        uid = store.add(vector, metadata, "one", namespace="n-1", model_id="m", source="file.md", expires_in_s=900)
        assert uid == "one"
        [record] = store.get(["one"])
        assert record.metadata == metadata
        assert record.text == "caf\u00e9 \N{SNOWMAN}"
        np.testing.assert_array_equal(record.vector, vector)
        assert record.vector.dtype == np.float32
        assert (record.uid, record.namespace, record.model_id, record.source) == ("one", "n-1", "m", "file.md")
        assert record.created_at == record.updated_at
        assert record.expires_at == pytest.approx(record.created_at + 900)

    def test_generated_uids_are_time_ordered(self, store: VectorStore) -> None:
        """Generated uids are UUIDv7 and ascend, so scans return records in the order of adding."""
        uids = [store.add(at(1)), *store.add_batch([at(i) for i in range(50)]), store.add(at(2))]
        assert uids == sorted(set(uids))
        assert {UUID(uid).version for uid in uids} == {7}
        assert [record.uid for record in store.scan()] == uids

    def test_add_batch_returns_given_and_generated_uids_in_order(self, store: VectorStore) -> None:
        """`add_batch` returns the given or generated uid of each record, in order."""
        uids = store.add_batch([at(i) for i in range(4)], [{"i": i} for i in range(4)], ["b", None, "a", None])
        assert (uids[0], uids[2]) == ("b", "a")
        assert [record.metadata["i"] for record in store.get(uids)] == [0, 1, 2, 3]

    def test_empty_batches_return_empty_results(self, store: VectorStore) -> None:
        """Adds, searches, gets and deletes of an empty list do nothing and raise no error."""
        assert store.add_batch([]) == []
        assert store.add_batch(np.empty((0, DIM))) == []
        assert store.search_batch([]) == []
        assert store.get([]) == []
        assert store.delete([]) == 0
        assert store.count() == 0

    def test_add_replaces_the_record_when_the_uid_exists(self, store: VectorStore) -> None:
        """An add with an existing uid replaces vector and metadata, and keeps the creation time."""
        store.add(at(0), {"v": 1}, "x")
        [before] = store.get(["x"])
        store.add(at(90), {"w": 2}, "x")
        [after] = store.get(["x"])
        assert after.metadata == {"w": 2}
        assert (after.created_at, after.updated_at >= before.updated_at) == (before.created_at, True)
        assert store.count() == 1
        assert store.search(at(90), 5)[0].score == pytest.approx(1.0, abs=1e-5)
        assert store.count({"v": 1}) == 0

    def test_last_record_wins_when_a_batch_has_equal_uids(self, store: VectorStore) -> None:
        """When a batch has equal uids, the last record is stored; a uid is returned per vector."""
        assert store.add_batch([at(0), at(10), at(20)], [{"v": 0}, {"v": 1}, {"v": 2}], ["x", "y", "x"]) == [*"xyx"]
        assert [record.metadata["v"] for record in store.get(["x", "y"])] == [2, 1]
        assert _uids(store.search(at(20), 5)) == ["x", "y"]

    def test_add_batch_stores_nothing_when_one_record_is_invalid(self, store: VectorStore) -> None:
        """If one record of a batch is invalid, no record is added and none is replaced."""
        store.add(at(0), {"v": 1}, "x")
        with pytest.raises(InvalidInputError):
            store.add_batch([at(1), at(2)], [{"v": 2}, {"v": float("nan")}], ["x", "y"])
        assert [record.metadata for record in store.scan()] == [{"v": 1}]

    def test_changing_arguments_or_results_leaves_stored_records_unchanged(self, store: VectorStore) -> None:
        """Later changes of a vector or metadata by the caller do not change the stored record."""
        vector, metadata = at(0), {"tags": ["a"]}
        store.add(vector, metadata, "x")  # type: ignore[arg-type]
        vector[:] = 9
        metadata["tags"].append("b")
        store.search(at(0))[0].metadata["tags"] = None
        [record] = store.get(["x"])
        np.testing.assert_array_equal(record.vector, at(0))
        assert record.metadata == {"tags": ["a"]}

    # -- namespaces -----------------------------------------------------------------------------------------------

    def test_namespaces_are_separate(self, store: VectorStore) -> None:
        """Equal uids in two namespaces are two records; a read without a namespace covers both."""
        store.add(at(0), {"in": "default"}, "x")
        store.add(at(10), {"in": "b"}, "x", namespace="b")
        assert [match.metadata["in"] for match in store.search(at(0), namespace="b")] == ["b"]
        assert [match.metadata["in"] for match in store.search(at(0))] == ["default", "b"]
        assert {record.namespace for record in store.get(["x"])} == {"default", "b"}
        assert [record.namespace for record in store.get(["x"], namespace="b")] == ["b"]
        assert store.count(namespace="default") == 1
        assert [record.namespace for record in store.scan(namespace="default")] == ["default"]
        assert store.delete(["x"], namespace="b") == 1
        assert store.delete(where={}, namespace="b") == 0
        assert [record.metadata["in"] for record in store.scan()] == ["default"]

    def test_namespace_is_any_text(self, store: VectorStore) -> None:
        """A namespace may be any text; texts that only look equal are two namespaces."""
        for namespace in NAMESPACES:
            store.add(at(0), {"namespace": namespace}, "a", namespace=namespace)
        for namespace in NAMESPACES:
            [record] = store.get(["a"], namespace=namespace)
            assert (record.namespace, record.metadata) == (namespace, {"namespace": namespace})
            assert store.count(namespace=namespace) == 1

    def test_unknown_namespace_is_empty(self, store: VectorStore) -> None:
        """Reads and deletes in an unknown namespace find nothing and raise no error."""
        store.add(at(0), None, "x")
        assert store.search(at(0), namespace="none") == []
        assert store.search_with_filter(at(0), 3, lambda metadata: True, namespace="none") == []
        assert store.get(["x"], namespace="none") == []
        assert store.count(namespace="none") == 0
        assert store.scan(namespace="none") == []
        assert store.delete(["x"], namespace="none") == 0
        assert store.delete(where={}, namespace="none") == 0
        assert store.count() == 1

    # -- reading --------------------------------------------------------------------------------------------------

    def test_get_keeps_the_order_and_leaves_unknown_uids_out(self, store: VectorStore) -> None:
        """`get` returns records in the order of the given uids, and leaves unknown uids out."""
        store.add_batch([at(i) for i in range(3)], None, ["a", "b", "c"])
        assert [record.uid for record in store.get(["c", "nobody", "a"])] == ["c", "a"]

    def test_scan_pages_return_every_record_once(self, store: VectorStore) -> None:
        """Scan pages of any size return each record once, sorted by uid, with or without a filter."""
        names = sorted(f"{i * 7919 % 1000:03d}-\u00e9" for i in range(150))
        store.add_batch([at(i) for i in range(150)], [{"even": i % 2 == 0} for i in range(150)], names)
        for where, expected in ((None, names), ({"even": True}, names[::2]), ({"even": 1}, [])):
            for limit in (1, 7, 1_000):
                uids: list[str] = []
                while page := store.scan(where, after=uids[-1] if uids else None, limit=limit):
                    assert len(page) <= limit
                    uids += [record.uid for record in page]
                assert uids == expected

    def test_scan_returns_equal_uids_on_one_page(self, store: VectorStore) -> None:
        """A scan page holds the records of all namespaces with its last uid, even beyond `limit`."""
        for namespace in ("a", "b", "c"):
            store.add_batch([at(0), at(1)], None, ["x", "y"], namespace=namespace)
        assert [(r.uid, r.namespace) for r in store.scan(limit=1)] == [("x", "a"), ("x", "b"), ("x", "c")]
        assert [r.uid for r in store.scan(after="x", limit=1)] == ["y"] * 3

    def test_deleted_records_are_found_by_no_operation(self, store: VectorStore) -> None:
        """`delete` returns the number of records deleted, and no later operation finds them."""
        store.add_batch([at(i) for i in range(6)], [{"i": i} for i in range(6)], list("abcdef"))
        assert store.delete(["a", "nobody", "a"]) == 1
        assert store.delete(where={"i": {"$gte": 4}}) == 2
        assert store.delete(["b", "c"], where={"i": 2}) == 1
        assert store.delete(["a"]) == 0
        assert _uids(store.search(at(0), 10)) == ["b", "d"]
        assert store.get(list("acef")) == []
        assert store.count() == 2
        store.add(at(0), {"i": 0}, "a")
        assert store.count({"i": 0}) == 1
        assert store.delete(where={}) == 3
        assert store.search(at(0)) == []

    # -- searching ------------------------------------------------------------------------------------------------

    def test_search_without_scores_keeps_the_order(self, store: VectorStore) -> None:
        """With `return_scores=False`, matches stay in order and every score is 0.0."""
        store.add_batch([at(9), at(3)], None, ["far", "near"])
        found = store.search(at(0), 5, return_scores=False)
        assert [(match.uid, match.score) for match in found] == [("near", 0.0), ("far", 0.0)]

    def test_search_batch_returns_matches_in_the_order_of_queries(self, store: VectorStore) -> None:
        """`search_batch` returns a list of matches per query, each with its own metadata copies."""
        store.add_batch([at(0), at(90)], [{}, {}], ["east", "north"])
        east, north, again = store.search_batch([at(1), at(89), at(1)], 1)
        assert (_uids(east), _uids(north), _uids(again)) == (["east"], ["north"], ["east"])
        east[0].metadata["mine"] = True
        assert again[0].metadata == {}

    def test_empty_store_returns_no_matches(self, store: VectorStore) -> None:
        """Searches and scans of an empty store return empty lists."""
        assert store.search(at(0), 5) == []
        assert store.search_batch([at(0), at(1)], 5) == [[], []]
        assert store.search(at(0), where={"a": 1}) == []
        assert store.scan() == []

    def test_search_returns_top_k_when_filter_matches_few(self, store: VectorStore) -> None:
        """A search finds all ten records that match its filter, though many others are more similar."""
        n = 600
        store.add_batch([at(i * 0.2) for i in range(n)], [{"rare": i % 60 == 59, "i": i} for i in range(n)])
        found = store.search(at(0), 10, where={"rare": True})
        assert [match.metadata["i"] for match in found] == list(range(59, n, 60))
        assert len(store.search(at(0), 1_000)) == n

    def test_search_with_filter_returns_the_best_that_pass_the_predicate(self, store: VectorStore) -> None:
        """`search_with_filter` combines predicate and `where`, and raises the predicate's errors."""
        store.add_batch([at(i * 0.4) for i in range(400)], [{"i": i} for i in range(400)])
        found = store.search_with_filter(at(0), 3, lambda metadata: metadata["i"] % 150 == 149)  # type: ignore[operator]
        assert [match.metadata["i"] for match in found] == [149, 299]
        found = store.search_with_filter(at(0), 3, lambda metadata: metadata["i"] != 11, where={"i": {"$gte": 10}})
        assert [match.metadata["i"] for match in found] == [10, 12, 13]
        with pytest.raises(KeyError, match="nobody"):
            store.search_with_filter(at(0), 3, lambda metadata: bool(metadata["nobody"]))

    def test_records_at_the_limits_are_accepted(self, store: VectorStore) -> None:
        """Records with the deepest or largest metadata, longest text or longest uid are stored."""
        deep: Metadata = {}
        for _ in range(self.limits.metadata_depth - 1):
            deep = {"d": deep}
        large: Metadata = {"a": "x" * (self.limits.metadata_bytes - len('{"a":""}'))}
        text: Metadata = {"text": "y" * self.limits.text_bytes}
        name = "z" * self.limits.uid_chars
        store.add_batch([at(0), at(1), at(2)], [deep, large, text], ["a", "b", name])
        assert [match.metadata for match in store.search(at(0))] == [deep, large, text]
        assert store.get([name])[0].text == "y" * self.limits.text_bytes

    def test_expired_record_is_returned_by_no_operation(self, store: VectorStore) -> None:
        """No operation finds, counts or deletes an expired record."""
        store.add(at(0), {"v": 1}, "gone", expires_in_s=1e-6)
        store.add(at(1), {"v": 1}, "stays", expires_in_s=3_600)
        assert _uids(store.search(at(0))) == ["stays"]
        assert [match.uid for match in store.search_with_filter(at(0), 5, lambda metadata: True)] == ["stays"]
        assert [record.uid for record in store.get(["gone", "stays"])] == ["stays"]
        assert store.count({"v": 1}) == 1
        assert [record.uid for record in store.scan()] == ["stays"]
        assert store.delete(["gone"]) == 0
        store.add(at(0), {"v": 2}, "gone")
        assert [record.metadata for record in store.get(["gone"])] == [{"v": 2}]
        assert store.delete(where={}) == 2

    def test_stats_hold_records_dim_and_engine(self, store: VectorStore) -> None:
        """The statistics report the number of records, the vector dimension and the engine's name."""
        store.add_batch([at(0), at(1)])
        stats = store.stats()
        assert (stats["records"], stats["dim"], store.dim) == (2, DIM, DIM)
        assert stats["engine"]

    # -- concurrency and lifecycle --------------------------------------------------------------------------------

    async def test_async_operations_return_what_the_blocking_ones_do(self, store: VectorStore) -> None:
        """The asyncio form of each operation returns what its blocking form would return."""
        uid = await store.aadd(at(0), {"a": 1})
        uids = await store.aadd_batch([at(5), at(10)], [{"a": 2}, {"a": 3}])
        assert _uids(await store.asearch(at(0), 2)) == [uid, uids[0]]
        assert [_uids(found) for found in await store.asearch_batch([at(0)], 1)] == [[uid]]
        assert _uids(await store.asearch_with_filter(at(0), 1, lambda metadata: metadata["a"] == 3)) == [uids[1]]
        assert [record.uid for record in await store.aget([uid])] == [uid]
        assert [record.uid for record in await store.ascan(limit=2)] == [uid, uids[0]]
        assert await store.acount({"a": {"$gt": 1}}) == 2
        assert await store.adelete([uid]) == 1
        assert (await store.astats())["records"] == 2

    async def test_concurrent_callers_see_their_own_writes(self, store: VectorStore) -> None:
        """Each of 32 concurrent tasks reads its own add, replacement and deletion once it returned."""

        async def caller(i: int) -> None:
            uid = await store.aadd(at(i), {"who": i})
            assert [record.metadata["who"] for record in await store.aget([uid])] == [i]
            assert await store.acount({"who": i}) == 1
            assert uid in _uids(await store.asearch(at(i), 32))
            await store.aadd(at(i), {"who": -i - 1}, uid)
            assert await store.acount({"who": i}) == 0
            assert await store.adelete([uid]) == 1
            assert await store.aget([uid]) == []

        await asyncio.gather(*(caller(i) for i in range(32)))
        assert await store.acount() == 0

    async def test_cancelled_calls_leave_other_calls_unaffected(self, store: VectorStore) -> None:
        """When every second concurrent call is cancelled, all other calls succeed."""
        adding = [asyncio.ensure_future(store.aadd(at(i), {"i": i})) for i in range(20)]
        searching = [asyncio.ensure_future(store.asearch(at(i), 1)) for i in range(20)]
        await asyncio.sleep(0)
        for task in [*adding[::2], *searching[::2]]:
            task.cancel()
        outcomes = await asyncio.gather(*adding, *searching, return_exceptions=True)
        not_cancelled = [outcome for i, outcome in enumerate(outcomes) if i % 2]
        assert not [outcome for outcome in not_cancelled if isinstance(outcome, BaseException)]
        assert await store.acount({"i": {"$in": list(range(1, 20, 2))}}) == 10

    def test_threads_share_a_store(self, store: VectorStore) -> None:
        """Eight threads add, count, search and delete at once, and each finds exactly its records."""
        begin = threading.Barrier(8)

        def work(i: int) -> None:
            begin.wait()
            uids = store.add_batch([at(i)] * 20, [{"t": i}] * 20)
            assert store.count({"t": i}) == 20
            assert store.delete(uids[::2]) == 10
            assert {match.uid for match in store.search(at(i), 1_000, where={"t": i})} == set(uids[1::2])

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, i) for i in range(8)]:
                done.result()
        assert store.count() == 80

    def test_every_operation_raises_after_close(self, store: VectorStore) -> None:
        """Closing a closed store does nothing, and every other call raises ResourceClosedError."""
        store.add(at(0), None, "x")
        store.close()
        store.close()
        assert store.closed
        for call in (
            lambda: store.add(at(0)),
            lambda: store.add_batch([]),
            lambda: store.put([]),
            lambda: store.update("x"),
            lambda: store.search(at(0)),
            lambda: store.search_batch([]),
            lambda: store.search_with_filter(at(0), 1, lambda metadata: True),
            lambda: store.get(["x"]),
            lambda: store.delete(["x"]),
            store.count,
            store.scan,
            store.stats,
        ):
            with pytest.raises(ResourceClosedError):
                call()
        with pytest.raises(ResourceClosedError):
            store.__enter__()

    async def test_store_closes_when_its_async_context_ends(self, make_store: MakeStore) -> None:
        """A store is closed after `async with`, and closing it again does nothing."""
        store = await asyncio.to_thread(make_store, DIM)
        async with store:
            await store.aadd(at(0))
        assert store.closed
        await store.aclose()
        with pytest.raises(ResourceClosedError):
            await store.acount()

    async def test_close_settles_every_pending_call(self, make_store: MakeStore) -> None:
        """When a store closes, each pending call returns a result or raises ResourceClosedError."""
        store = await asyncio.to_thread(make_store, DIM)
        calls = [asyncio.ensure_future(store.aadd(at(i))) for i in range(50)]
        await asyncio.sleep(0)
        await store.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, str | ResourceClosedError) for outcome in outcomes)
