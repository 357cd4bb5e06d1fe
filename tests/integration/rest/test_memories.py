"""Memories over REST: stored, listed, changed, counted and deleted."""

from __future__ import annotations

from tests.integration.rest.conftest import add


def test_memories_route_stores_one_memory_a_batch_or_a_conversation(rest):
    """The members of the body select the form, and the answer lists the uids in order."""
    url = "/v1/agents/three/memories"
    [one] = rest.post(url, json={"text": "one", "uid": "a/b c", "source": "me", "memory_type": "note"}).json()["uids"]
    assert one == "a/b c"
    two = add(rest, "three", {"text": "two"}, {"text": "three", "expires_in_s": 3600})
    turns = [{"speaker": "Ann", "text": "four", "created_at": "2026-01-01"}, {"speaker": "Bob", "text": "five"}]
    three = rest.post(url, json={"turns": turns, "session": "s1"}).json()["uids"]
    assert len({one, *two, *three}) == 5
    stored = rest.get(f"{url}/a%2Fb%20c").json()
    assert (stored["text"], stored["source"], stored["metadata"]["type"], stored["expires_at"]) == (
        "one",
        "me",
        "note",
        None,
    )
    assert rest.get(f"{url}/{two[1]}").json()["expires_at"] > stored["created_at"]
    turn = rest.get(f"{url}/{three[0]}").json()
    assert turn["text"] == "Ann: four"
    assert (turn["session"], turn["metadata"]["speaker"], turn["metadata"]["created_at"]) == ("s1", "Ann", "2026-01-01")


def test_pages_of_memories_contain_each_memory_once(rest):
    """`next` of one page is `after` of the following one."""
    uids = add(rest, "pages", *({"text": f"text {n}"} for n in range(5)))
    seen, after = [], None
    while True:
        query = {"limit": 2} if after is None else {"limit": 2, "after": after}
        page = rest.get("/v1/agents/pages/memories", params=query).json()
        seen += [memory["uid"] for memory in page["memories"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(uids)


def test_deleted_memory_is_unknown_to_get_delete_and_search(rest):
    """A second deletion is answered with 404."""
    [uid] = add(rest, "lethe", {"text": "forget me"})
    assert rest.delete(f"/v1/agents/lethe/memories/{uid}").status_code == 204
    for answer in (rest.delete(f"/v1/agents/lethe/memories/{uid}"), rest.get(f"/v1/agents/lethe/memories/{uid}")):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert rest.post("/v1/agents/lethe/search", json={"query": "forget"}).json() == {"results": []}


def test_agent_cannot_read_the_memories_of_another_agent(rest):
    """All agents share one store."""
    [uid] = add(rest, "ann", {"text": "only Ann knows"})
    assert rest.get(f"/v1/agents/bob/memories/{uid}").status_code == 404
    assert rest.post("/v1/agents/bob/search", json={"query": "Ann"}).json() == {"results": []}


def test_memory_with_dedupe_exact_is_stored_once(rest):
    """Alone and in a batch, the answer contains the uid of the memory that was there."""
    url = "/v1/agents/once/memories"
    [first] = rest.post(url, json={"text": "same", "dedupe": "exact"}).json()["uids"]
    assert rest.post(url, json={"text": "same", "dedupe": "exact"}).json()["uids"] == [first]
    batch = {"memories": [{"text": "same"}, {"text": "other"}, {"text": "other"}], "dedupe": "exact"}
    again, other, twice = rest.post(url, json=batch).json()["uids"]
    assert (again, other) == (first, twice)
    assert rest.get(f"{url}:count").json() == {"count": 2}


def test_patch_changes_only_the_fields_that_it_names(rest):
    """A null clears a field, and the answer is the changed memory."""
    url = "/v1/agents/change/memories"
    first = {"text": "old", "uid": "a/b", "extra": {"x": 1, "y": 2}, "source": "me", "priority": 1, "expires_in_s": 60}
    rest.post(url, json=first)
    body = {"text": "new museum", "extra": {"x": None, "z": 3}, "source": None, "expires_in_s": None}
    changed = rest.patch(f"{url}/a%2Fb", json=body).json()
    assert changed == rest.get(f"{url}/a%2Fb").json()
    assert changed["metadata"] == {"text": "new museum", "type": "fact", "y": 2, "z": 3}
    assert (changed["source"], changed["expires_at"], changed["priority"]) == (None, None, 1)
    assert rest.post("/v1/agents/change/search", json={"query": "museum"}).json()["results"][0]["uid"] == "a/b"
    assert rest.patch(f"{url}/a%2Fb", json={}).json()["text"] == "new museum"
    assert rest.patch(f"{url}/nobody", json=body).status_code == 404
    refused = rest.patch(f"{url}/a%2Fb", json={"extra": {"text": "x"}})
    assert (refused.status_code, refused.json()["field"]) == (422, "extra")


def test_memories_are_counted_scanned_and_deleted_by_filter(rest):
    """Deletion by uids works, too; a deletion without filter and uids is refused."""
    url = "/v1/agents/chosen/memories"
    uids = add(rest, "chosen", *({"text": f"note {n}", "extra": {"n": n}} for n in range(6)))
    assert rest.post(f"{url}:count", json={"where": {"n": {"$gte": 2}}}).json() == {"count": 4}
    seen, after = [], None
    while True:
        body = {"where": {"n": {"$lt": 5}}, "limit": 2, "after": after}
        page = rest.post(f"{url}:scan", json=body).json()
        seen += [memory["metadata"]["n"] for memory in page["memories"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert rest.post(f"{url}:forget", json={}).status_code == 422
    assert rest.post(f"{url}:forget", json={"where": {"n": {"$lt": 2}}}).json() == {"deleted": 2}
    assert rest.post(f"{url}:forget", json={"uids": [uids[0], uids[2]]}).json() == {"deleted": 1}
    assert rest.post(f"{url}:forget", json={"uids": [uids[3]], "where": {"n": 5}}).json() == {"deleted": 0}
    assert rest.post(f"{url}:forget", json={"where": {}}).json() == {"deleted": 3}
