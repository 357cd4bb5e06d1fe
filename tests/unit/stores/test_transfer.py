"""Tests of export and import: both formats preserve every field and every search result."""

from __future__ import annotations

import asyncio
import io
import json
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.stores.conftest import DIM, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.client import DistributedVectorStoreStub
from super_advanced_agents.errors import (
    ConfigurationError,
    DimensionMismatchError,
    InvalidInputError,
    ModelMismatchError,
    StoreError,
)
from super_advanced_agents.stores.transfer import Imported, aexport_records, export_records, import_records
from super_advanced_agents.types import Matrix, Record

Opened = Callable[..., FAISSVectorStore]
FORMATS = ["jsonl", "parquet"]

names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)
words = st.lists(
    st.sampled_from(["cat", "dog", "piano", "lyon", "tea", "rain", "über", "猫"]), min_size=1, max_size=5
).map(" ".join)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
instants = st.floats(0, 4e9, allow_nan=False)
numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4).filter(lambda each: any(map(abs, each)))
records = st.builds(
    lambda uid, numbers, text, rest, **other: Record(
        uid=uid,
        vector=np.array(numbers, np.float32),
        metadata=rest if text is None else {"text": text, **rest},
        **other,
    ),
    uid=names,
    numbers=numbers,
    text=st.none() | words,
    rest=st.dictionaries(names.filter(lambda name: name != "text"), values, max_size=3),
    namespace=st.sampled_from(["default", "a", "b-2"]),
    model_id=st.none() | st.just("some model"),
    source=st.none() | words,
    session=st.none() | st.sampled_from(["monday", "tuesday"]),
    place=st.none() | st.integers(0, 2**40),
    created_at=instants,
    updated_at=instants,
    expires_at=st.none() | st.floats(5e9, 9e9),
    priority=st.none() | finite,
)


def _assert_equal(found: list[Record], expected: list[Record]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.vector.tobytes() == other.vector.tobytes()
        assert replace(one, vector=None) == replace(other, vector=None)  # type: ignore[arg-type]


def _everything(store: FAISSVectorStore) -> list[Record]:
    found: list[Record] = []
    while page := store.scan(after=found[-1].uid if found else None, limit=1_000):
        found += page
    return found


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(given_records=st.lists(records, max_size=12), query=numbers, query_text=words)
def test_import_restores_every_exported_record_and_search_result(
    tmp_path: Path, file_format: Any, given_records: list[Record], query: list[float], query_text: str
) -> None:
    """Vector, keyword and hybrid searches return equal results, and a second import changes nothing."""
    file = tmp_path / "all"
    with FAISSVectorStore(4) as store, FAISSVectorStore(4) as copy:
        store.put(given_records)
        exported = _everything(store)
        assert export_records(store, file, file_format=file_format) == len(exported)
        for _ in range(2):
            done = import_records(copy, file)
            assert (done.stored, done.failed, done.troubles) == (len(exported), 0, [])
            _assert_equal(_everything(copy), exported)
        assert done.read_bytes > 0
        for namespace in (None, "a"):
            ways: list[Callable[[FAISSVectorStore], Any]] = [
                lambda each, n=namespace: each.search(query, 20, namespace=n),
                lambda each, n=namespace: each.search_keywords(query_text, 20, namespace=n),
                lambda each, n=namespace: each.search_hybrid(query, query_text, 20, namespace=n),
            ]
            for way in ways:
                assert _ranked(way(copy)) == _ranked(way(store))


def _ranked(matches: Any) -> list[tuple[float, str]]:
    """Return scores and uids in one order; rows with equal scores have none of their own."""
    return sorted(((round(match.score, 5), match.uid) for match in matches), reverse=True)


@pytest.fixture
def store(opened: Opened) -> FAISSVectorStore:
    """A store of 2,500 records, more than a page of an export or an import."""
    store = opened()
    for start in range(0, 2_500, 500):
        store.add_batch(
            vectors(500, start),
            [{"text": f"text {start + i}", "i": start + i} for i in range(500)],
            [f"u{start + i:05d}" for i in range(500)],
            model_id="some model",
        )
    return store


@pytest.mark.parametrize("file_format", FORMATS)
def test_export_and_import_report_progress_after_each_page(
    opened: Opened, store: FAISSVectorStore, tmp_path: Path, file_format: Any
) -> None:
    """The suffix of the file selects the format."""
    file = tmp_path / f"all.{file_format}"
    exported_counts: list[int] = []
    assert export_records(store, file, on_records=exported_counts.append) == 2_500
    assert exported_counts == [500, 1_000, 1_500, 2_000, 2_500]
    assert file.read_bytes().startswith(b"PAR1" if file_format == "parquet" else b'{"format":')
    copy = opened(None)
    seen: list[int] = []
    done = import_records(copy, file, on_page=lambda now: seen.append(now.stored))
    assert done.stored == 2_500
    assert seen[-1] == 2_500
    assert len(seen) >= 3
    _assert_equal(_everything(copy), _everything(store))


def test_export_and_import_through_a_client_select_namespace_and_filter(
    store: FAISSVectorStore, tmp_path: Path, opened: Opened
) -> None:
    """An import can write into another namespace, unless the export covers all namespaces."""
    store.add_batch(vectors(3), [{"i": 0}] * 3, namespace="other")
    file = tmp_path / "some.jsonl"
    with DistributedVectorStoreStub(store) as client:
        assert export_records(client, file, namespace="default", where={"i": {"$lt": 10}}) == 10
    copy = opened(None)
    with DistributedVectorStoreStub(copy) as client:
        assert import_records(client, file, namespace="mine").stored == 10
    assert {record.namespace for record in copy.scan()} == {"mine"}
    assert export_records(store, file) == 2_503
    with pytest.raises(InvalidInputError, match="all namespaces"):
        import_records(copy, file, namespace="mine")


def test_export_and_import_leave_an_open_file_open(opened: Opened, store: FAISSVectorStore) -> None:
    """Standard output and input are used this way."""
    file = io.BytesIO()
    export_records(store, file)
    file.seek(0)
    copy = opened(None)
    assert import_records(copy, file).stored == 2_500
    assert not file.closed


class _Embedder:
    """A model that makes vectors of 8 numbers from the lengths of texts, and refuses one text."""

    model_id = "another model"

    async def aembed_batch(self, texts: Any) -> Matrix:
        for i, text in enumerate(texts):
            if text == "text 7":
                raise InvalidInputError(f"texts[{i}] is not to its taste", field=f"texts[{i}]")
        return np.array([[len(text), *range(1, 8)] for text in texts], np.float32)


@pytest.mark.parametrize("file_format", FORMATS)
def test_import_with_an_embedder_replaces_vectors_and_reports_missing_texts(
    opened: Opened, store: FAISSVectorStore, tmp_path: Path, file_format: Any
) -> None:
    """Other fields stay as they were; the store may have another dimension or model."""
    store.add(vectors(1)[0], {"i": -1}, "bare")
    file = tmp_path / "texts"
    export_records(store, file, file_format=file_format, vectors=False)
    with FAISSVectorStore(8) as copy:
        with pytest.raises(InvalidInputError, match="no vectors"):
            import_records(copy, file)
        done = import_records(copy, file, embedder=_Embedder())
        assert (done.stored, done.failed) == (2_499, 2)
        assert {trouble.why for trouble in done.troubles} == {"it has no text to embed", "is not to its taste"}
        expected = [record for record in _everything(store) if record.uid not in ("bare", "u00007")]
        found = _everything(copy)
        assert [replace(each, vector=None) for each in found] == [  # type: ignore[arg-type]
            replace(each, vector=None, model_id="another model")  # type: ignore[arg-type]
            for each in expected
        ]
        assert found[0].vector.tolist() == [6, 1, 2, 3, 4, 5, 6, 7]


def test_import_refuses_vectors_of_another_dimension_or_model(
    opened: Opened, store: FAISSVectorStore, tmp_path: Path
) -> None:
    """The message names both sides, and nothing is stored."""
    file = tmp_path / "all.jsonl"
    export_records(store, file)
    with FAISSVectorStore(8) as other, pytest.raises(DimensionMismatchError, match="16 numbers, the store of 8"):
        import_records(other, file)
    copy = opened(None)
    copy.add(vectors(1)[0], None, "first", model_id="another model")
    with pytest.raises(ModelMismatchError, match=r"'some model'.*'another model'"):
        import_records(copy, file)
    assert copy.count() == 1


GOOD = {"uid": "x", "namespace": "default", "created_at": 1.0, "updated_at": 2.0, "vector": [1.0] * DIM}
BAD: list[tuple[Any, str]] = [
    ("nonsense", "not JSON"),
    ([1], "not an object"),
    ({**GOOD, "uid": None}, "no 'uid'"),
    ({**GOOD, "text": 5}, "'text' is not a string"),
    ({**GOOD, "text": ""}, "empty"),
    ({**GOOD, "metadata": []}, "'metadata' is not an object"),
    ({**GOOD, "colour": "red"}, "unknown member 'colour'"),
    ({**GOOD, "vector": "AAAA"}, "base64"),
    ({**GOOD, "vector": [1.0, "2"]}, "neither base64 nor a list"),
    ({**GOOD, "vector": [1.0]}, "1"),
    ({**GOOD, "vector": [0.0] * DIM}, "zero"),
    ({**GOOD, "vector": [1e300] * DIM}, "finite"),
    ({**GOOD, "vector": None}, "no 'vector'"),
    ({**GOOD, "created_at": "now"}, "created_at"),
    ({**GOOD, "metadata": {"big": "x" * 20_000}}, "limit"),
    ({**GOOD, "source": "x" * (1 << 20)}, "longer than"),
]


def _export_of(lines: list[Any], *, dim: int = DIM, end: object = None) -> io.BytesIO:
    header = {
        "format": "super-advanced-agents/export", "version": 1, "dim": dim, "metric": "cosine", "vectors": True,
        "namespace": None, "created_at": 0.0,
    }  # fmt: skip
    last = {"end": True, "records": len(lines)} if end is None else end
    rows = [line if line == "nonsense" else json.dumps(line) for line in [header, *lines, last]]
    return io.BytesIO("\n".join(rows).encode())


@pytest.mark.parametrize(("line", "why"), BAD, ids=[f"{i} {why}" for i, (_, why) in enumerate(BAD)])
def test_import_reports_an_invalid_line_and_stores_the_others(opened: Opened, line: Any, why: str) -> None:
    """A strict import stops at that line and stores nothing of its page."""
    store = opened(None)
    lines = [{**GOOD, "uid": "a"}, line, {**GOOD, "uid": "c"}]
    with pytest.raises(InvalidInputError, match="stopped at line 3"):
        import_records(store, _export_of(lines), strict=True)
    assert store.count() == 0
    done = import_records(store, _export_of(lines))
    assert [trouble.line for trouble in done.troubles] == [3]
    assert why in done.troubles[0].why
    assert [record.uid for record in store.scan()] == ["a", "c"]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"end": True, "records": 9}, "had 9 records, the file has 1"),
        ({**GOOD, "uid": "z"}, "without its last line"),
    ],
)
def test_import_reports_a_truncated_file(opened: Opened, end: object, why: str) -> None:
    """The records that the file holds are stored."""
    done = import_records(opened(None), _export_of([GOOD], end=end))
    assert why in done.troubles[0].why
    assert done.stored >= 1


@pytest.mark.parametrize("cut", ["header", "version", "parquet", "flipped", "foreign"])
def test_import_refuses_a_damaged_file_and_one_that_is_no_export(
    opened: Opened, store: FAISSVectorStore, tmp_path: Path, cut: str
) -> None:
    """Nothing is stored, except rows that precede the damage."""
    file = tmp_path / "all.parquet"
    if cut in ("header", "version"):
        export = _export_of([GOOD]).getvalue()
        old, new = (b'"dim": 16', b'"dim": "x"') if cut == "header" else (b'"version": 1', b'"version": 99')
        file.write_bytes(export.replace(old, new))
    elif cut == "foreign":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"a": [1]}), file)
    else:
        export_records(store, file)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if cut == "parquet" else content)
    copy = opened(None)
    with pytest.raises(InvalidInputError, match=r"damaged|no export|version 99"):
        import_records(copy, file)
    assert cut == "flipped" or copy.count() == 0


def test_failed_export_leaves_no_file_and_keeps_an_older_one(store: FAISSVectorStore, tmp_path: Path) -> None:
    """An export fails when its path cannot be written or when it is interrupted."""
    with pytest.raises(StoreError, match="cannot write"):
        export_records(store, tmp_path / "nowhere" / "all.jsonl")
    with pytest.raises(ConfigurationError, match="csv"):
        export_records(store, tmp_path / "all", file_format="csv")  # type: ignore[arg-type]
    (tmp_path / "all.jsonl").write_text("an older one")

    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_records(store, tmp_path / "all.jsonl", on_records=fail)
    assert (tmp_path / "all.jsonl").read_text() == "an older one"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "all.jsonl"}


async def test_cancelled_export_leaves_no_file(store: FAISSVectorStore, tmp_path: Path) -> None:
    """The task is cancelled after different numbers of steps."""
    for steps in (0, 1, 2, 3, 5, 8):
        task = asyncio.ensure_future(aexport_records(store, tmp_path / "all.parquet"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert {path.name for path in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))} == {"store"}


def test_repeated_import_completes_an_interrupted_one(opened: Opened, store: FAISSVectorStore, tmp_path: Path) -> None:
    """Whole pages are stored, and the same call again stores the rest without duplicates."""
    file = tmp_path / "all.jsonl"
    export_records(store, file)
    copy = opened(None)
    progress = Imported()

    def stop(_: Imported) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_records(copy, file, progress=progress, on_page=stop)
    assert copy.count() == progress.stored == 1_000
    import_records(copy, file)
    _assert_equal(_everything(copy), _everything(store))


def test_parquet_export_without_pyarrow_names_the_extra_to_install(tmp_path: Path) -> None:
    """The error is raised before a file is created."""
    program = f"""
import sys
sys.modules["pyarrow"] = None
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.transfer import export_records
with FAISSVectorStore(4) as store:
    try:
        export_records(store, {str(tmp_path / "all.parquet")!r})
    except Exception as exc:
        print(type(exc).__name__, exc)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("ConfigurationError Parquet needs pyarrow"), done.stderr
    assert "super-advanced-agents[parquet]" in done.stdout
    assert list(tmp_path.iterdir()) == []
