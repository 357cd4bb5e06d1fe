"""Tests of `/v1/collections` over plain HTTP, with vectors as numbers or base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from tests.contract.conftest import Served


@pytest.fixture
def rest(served: Served) -> Iterator[httpx2.Client]:
    """An HTTP client that sends the admin key."""
    with httpx2.Client(base_url=served.rest, headers={"X-API-Key": served.key}, timeout=60) as client:
        yield client


@pytest.fixture
def url(rest: httpx2.Client, request: pytest.FixtureRequest) -> str:
    """The path of a collection of dimension 4 that no other test uses."""
    name = f"c{abs(hash(request.node.name))}"
    assert rest.post("/v1/collections", json={"name": name, "dim": 4}).status_code == 201
    return f"/v1/collections/{name}"


def _base64(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def test_collections_are_created_listed_and_deleted(rest: httpx2.Client, url: str) -> None:
    """Creating one twice is a conflict unless `exist_ok` is set; deleting one twice is not found."""
    name = url.rpartition("/")[2]
    again = {"name": name, "dim": 4}
    assert rest.post("/v1/collections", json=again).status_code == 409
    assert rest.post("/v1/collections", json={**again, "exist_ok": True}).status_code == 201
    assert rest.post("/v1/collections", json={**again, "dim": 5, "exist_ok": True}).status_code == 409
    assert name in [each["name"] for each in rest.get("/v1/collections").json()["collections"]]
    assert rest.get(url).json()["dim"] == 4
    assert rest.delete(url).status_code == 204
    assert rest.delete(url).status_code == rest.get(url).status_code == 404
    assert rest.post(f"{url}/search", json={"query_vector": [1, 2, 3, 4]}).json()["error"] == "CollectionNotFoundError"


def test_vectors_are_accepted_and_returned_as_numbers_or_base64(rest: httpx2.Client, url: str) -> None:
    """One batch may mix both forms, and a page may leave the vectors out."""
    added = rest.post(f"{url}/records", json={"vectors": [[1, 2, 3, 4], _base64(4, 3, 2, 1)], "uids": ["a/b", "b"]})
    assert added.json() == {"uids": ["a/b", "b"]}
    assert rest.get(f"{url}/records/a%2Fb").json()["vector"] == [1, 2, 3, 4]
    assert rest.get(f"{url}/records/b", params={"vectors": "base64"}).json()["vector"] == _base64(4, 3, 2, 1)
    page = rest.get(f"{url}/records", params={"limit": 1, "vectors": "none"}).json()
    assert (page["records"][0]["vector"], page["next"]) == (None, "a/b")
    found = rest.post(f"{url}/search", json={"query_vector": _base64(1, 2, 3, 4), "top_k": 1}).json()["results"]
    assert [match["uid"] for match in found] == ["a/b"]
    whole = rest.post(f"{url}/records:get", json={"uids": ["b"]}).json()
    assert rest.put(f"{url}/records", json=whole).json() == {"stored": 1}
    assert rest.delete(f"{url}/records/b").status_code == 204
    assert rest.delete(f"{url}/records/b").status_code == rest.get(f"{url}/records/b").status_code == 404


def test_patch_keeps_unnamed_fields_and_null_removes_a_field(rest: httpx2.Client, url: str) -> None:
    """Metadata is merged as RFC 7396 defines."""
    one = {
        "vectors": [[1, 2, 3, 4]],
        "uids": ["x"],
        "metadatas": [{"a": 1, "b": 2}],
        "sources": ["s"],
        "priorities": [3],
    }
    rest.post(f"{url}/records", json=one)
    patch = {"uid": "x", "changes": {"a": None, "c": 3}, "source": None}
    assert rest.patch(f"{url}/records", json=patch).json() == {"updated": True}
    changed = rest.get(f"{url}/records/x").json()
    assert (changed["metadata"], changed["source"], changed["priority"]) == ({"b": 2, "c": 3}, None, 3)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("records", {"vectors": [[1, 2, 3, 4], [1, 2, 3]]}, "vectors[1]"),
        ("records", {"vectors": ["!!"]}, "vectors[0]"),
        ("records", {"vectors": ["AAA="]}, "vectors[0]"),
        ("records", {"vectors": [_base64(1, 2, 3)]}, "vectors"),
        ("records", {"vectors": [[1, 2, 3, "4"]]}, "vectors[0][3]"),
        ("records", {"vectors": [[1, 2, 3, 4]], "metadatas": [{"text": ""}]}, "metadatas[0].text"),
        ("records", {"vectors": [[1, 2, 3, 4]], "uids": ["a", "b"]}, "uids"),
        ("records", {"vectors": [[0, 0, 0, 0]]}, "vectors[0]"),
        ("search", {"query_vector": [0, 0, 0, 0]}, "query_vector"),
        ("search", {"query_vector": [1, 2]}, "query_vector"),
        ("search", {"query_vector": [1, 2, 3, 4], "top_k": 0}, "top_k"),
        ("search", {"query_vector": [1, 2, 3, 4], "other": 0}, "other"),
        ("search:hybrid", {"query_vector": [1, 2, 3, 4], "query_text": " "}, "query_text"),
        ("search:hybrid", {"query_vector": [1] * 4, "query_text": "a", "weights": {"vector": -1}}, "weights.vector"),
        ("records:delete", {}, "uids"),
    ],
)  # fmt: skip
def test_invalid_request_is_refused_with_the_name_of_its_field(
    rest: httpx2.Client, url: str, path: str, body: dict[str, object], field: str
) -> None:
    """The field is named as in the body, and nothing is stored."""
    answer = rest.post(f"{url}/{path}", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert rest.post(f"{url}/records:count", json={}).json() == {"count": 0}
