"""Repeated REST requests use the result cache, and repeated writes with an idempotency key run once."""

from __future__ import annotations

import time


def _hits(rest):
    return rest.get("/v1/stats").json()["results"]["hits"]


def test_repeated_search_is_answered_from_the_cache_until_data_changes(rest):
    """`Cache-Control: no-cache` bypasses the cache, and an expired memory is not shown."""
    url = "/v1/agents/repeats"
    rest.post(f"{url}/memories", json={"text": "The Louvre is a museum"})
    query = {"query": "art gallery"}
    first = rest.post(f"{url}/search", json=query).json()
    before = _hits(rest)
    assert rest.post(f"{url}/search", json=query).json() == first
    assert _hits(rest) == before + 1
    assert rest.post(f"{url}/search", json=query, headers={"Cache-Control": "no-cache"}).json() == first
    assert _hits(rest) == before + 1
    lifetime_s, late = 1.0, True
    while late:  # until the memory has lived as long as a search takes
        expires_at = time.monotonic() + lifetime_s
        prado = {"text": "The Prado is a museum", "uid": "prado", "expires_in_s": lifetime_s}
        rest.post(f"{url}/memories", json=prado).raise_for_status()
        results = rest.post(f"{url}/search", json=query).json()["results"]
        lifetime_s, late = 2 * lifetime_s, time.monotonic() > expires_at
    assert len(results) == 2
    deadline = time.monotonic() + 30
    while len(rest.post(f"{url}/search", json=query).json()["results"]) == 2:
        assert time.monotonic() < deadline, "what has expired is still shown"


def test_write_repeated_with_an_idempotency_key_runs_once(rest):
    """Repeated adds, updates and deletions get the answer of the first request; only texts are not kept for it."""
    url, memories = "/v1/agents/keyed/memories", {"memories": [{"text": "one"}, {"text": "two"}]}

    def twice(method, path, key, body=None, *, kept="true"):
        answers = [rest.request(method, path, json=body, headers={"Idempotency-Key": key}) for _ in range(2)]
        assert answers[0].content == answers[1].content
        assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, kept]
        return answers[0]

    uids = twice("POST", url, "batch", memories).json()["uids"]
    assert rest.get(f"{url}:count").json() == {"count": 2}
    assert twice("PATCH", f"{url}/{uids[0]}", "change", {"text": "three"}, kept=None).json()["text"] == "three"
    assert twice("DELETE", f"{url}/{uids[1]}", "delete").status_code == 204
    assert rest.get(f"{url}:count").json() == {"count": 1}
    refused = rest.post(url, json={"text": "other"}, headers={"Idempotency-Key": "batch"})
    assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key")


def test_write_id_in_a_body_is_for_one_write(rest):
    """A repetition without uids gets those of the first; another write with the id is refused, not lost."""
    url = "/v1/agents/write-ids/memories"
    first = rest.post(url, json={"text": "one", "write_id": "w-rest"})
    assert rest.post(url, json={"text": "one", "write_id": "w-rest"}).json() == first.json()
    refused = rest.post(url, json={"text": "two", "write_id": "w-rest"})
    assert (refused.status_code, refused.json()["field"]) == (422, "write_id")
    assert [memory["text"] for memory in rest.get(url).json()["memories"]] == ["one"]
