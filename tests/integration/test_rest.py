"""The REST routes answer over a real socket."""

from __future__ import annotations

import json
import socket

import jsonschema
import pytest


def _add(rest, agent, *memories):
    answer = rest.post(f"/v1/agents/{agent}/memories", json={"memories": list(memories)})
    assert answer.status_code == 200, answer.text
    return answer.json()["uids"]


def test_search_takes_query_and_top_k_and_returns_results(rest):
    """The specification shows this form for the default agent."""
    rest.post("/v1/agents/default/memories", json={"text": "The Louvre is a museum", "extra": {"city": "Paris"}})
    rest.post("/v1/agents/default/memories", json={"text": "Cats sleep all day"})
    answer = rest.post("/search", json={"query": "art gallery", "top_k": 1})
    [result] = answer.json()["results"]
    assert set(result) == {
        *("uid", "text", "score", "similarity", "metadata"),
        *("source", "session", "created_at", "updated_at"),
    }
    assert result["text"] == "The Louvre is a museum"
    assert result["metadata"]["city"] == "Paris"
    assert len(rest.post("/search", json={"query": "art gallery"}).json()["results"]) == 2


def test_search_applies_a_filter_and_refuses_unknown_fields(rest):
    """Unknown fields are refused in the body and in the URL."""
    for text, user in (("Lea has a red boat", "lea"), ("Ivo has a blue boat", "ivo")):
        rest.post("/v1/agents/default/memories", json={"text": text, "extra": {"user": user}})
    found = rest.post("/search", json={"query": "boat", "where": {"user": "lea"}}).json()["results"]
    assert [each["text"] for each in found] == ["Lea has a red boat"]
    refused = rest.post("/search", json={"query": "boat", "were": {"user": "lea"}})
    assert (refused.status_code, refused.json()["field"]) == (422, "were")
    for url in ("/v1/agents/default/memories", "/v1/agents", "/v1/collections"):
        refused = rest.get(url, params={"surplus": 1})
        assert (refused.status_code, refused.json()["field"]) == (422, "surplus")


def test_matches_say_where_they_come_from_and_filters_reach_it(rest):
    """Sources and times select, and a question about nothing known returns nothing if it asks for some similarity."""
    url = "/v1/agents/origins"
    _add(rest, "origins", {"text": "The ferry leaves at nine", "source": "trips/log.md"}, {"text": "Cats sleep"})

    def search(query="ferry", **options):
        answer = rest.post(f"{url}/search", json={"query": query, **options})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    [found] = search(
        where={"$source": "trips/log.md", "$type": "fact", "$created_at": {"$gte": "2026-01-01T00:00:00Z"}}
    )
    assert (found["text"], found["source"]) == ("The ferry leaves at nine", "trips/log.md")
    assert "text" not in found["metadata"]
    assert search(where={"$created_at": found["created_at"], "$source": {"$exists": True}}) == [found]
    assert search(where={"$created_at": {"$lt": found["created_at"]}}) == []
    question = "Which enzyme breaks down lactose?"
    assert len(search(question)) == 2
    assert search(question, min_similarity=0.3) == []
    [hit] = search(min_similarity=0.3, mode="keyword")
    assert hit["similarity"] >= 0.3
    refused = rest.post("/search", json={"query": "ferry", "min_similarity": 30})
    assert (refused.status_code, refused.json()["field"]) == (422, "min_similarity")
    answer = rest.post(f"{url}/ask", json={"question": question, "min_similarity": 0.3}).json()
    assert (answer["sources"], "do not know" in answer["text"]) == ([], True)


def test_memories_route_stores_one_memory_a_batch_or_a_conversation(rest):
    """The members of the body select the form, and the answer lists the uids in order."""
    url = "/v1/agents/three/memories"
    [one] = rest.post(url, json={"text": "one", "uid": "a/b c", "source": "me", "memory_type": "note"}).json()["uids"]
    assert one == "a/b c"
    two = _add(rest, "three", {"text": "two"}, {"text": "three", "expires_in_s": 3600})
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
    uids = _add(rest, "pages", *({"text": f"text {n}"} for n in range(5)))
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
    [uid] = _add(rest, "lethe", {"text": "forget me"})
    assert rest.delete(f"/v1/agents/lethe/memories/{uid}").status_code == 204
    for answer in (rest.delete(f"/v1/agents/lethe/memories/{uid}"), rest.get(f"/v1/agents/lethe/memories/{uid}")):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert rest.post("/v1/agents/lethe/search", json={"query": "forget"}).json() == {"results": []}


def test_search_applies_filter_and_memory_type_in_every_mode(rest):
    """Hybrid, vector and keyword search filter in different code."""
    kinds = ("even", "odd")
    _add(rest, "narrow", *({"text": f"note {n}", "extra": {"n": n}, "memory_type": kinds[n % 2]} for n in range(6)))
    url = "/v1/agents/narrow/search"
    for mode in ("hybrid", "vector", "keyword"):
        body = {"query": "note", "mode": mode, "where": {"n": {"$gte": 2}}, "memory_type": "even", "top_k": 10}
        found = rest.post(url, json=body).json()["results"]
        assert {each["metadata"]["n"] for each in found} == {2, 4}


def test_agent_cannot_read_the_memories_of_another_agent(rest):
    """All agents share one store."""
    [uid] = _add(rest, "ann", {"text": "only Ann knows"})
    assert rest.get(f"/v1/agents/bob/memories/{uid}").status_code == 404
    assert rest.post("/v1/agents/bob/search", json={"query": "Ann"}).json() == {"results": []}


def test_ask_returns_text_and_sources_as_json(rest):
    """Callers that request no stream get one document."""
    [uid] = _add(rest, "guide", {"text": "The Louvre is in Paris"})
    answer = rest.post("/v1/agents/guide/ask", json={"question": "Where is the Louvre?"}).json()
    assert "Paris" in answer["text"]
    assert [source["uid"] for source in answer["sources"]] == [uid]
    assert (answer["grounded"], answer["quoted"]) == (not answer["unsupported"], False)


@pytest.mark.parametrize("how", ["member", "header"])
def test_ask_streams_sources_then_text_then_done(rest, how):
    """A member of the body or the `Accept` header requests the stream."""
    _add(rest, f"stream-{how}", {"text": "The Louvre is in Paris"})
    body = {"question": "Where is the Louvre?", "stream": how == "member"}
    headers = {"accept": "text/event-stream"} if how == "header" else {}
    with rest.stream("POST", f"/v1/agents/stream-{how}/ask", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.read().decode().split("\n\n")[:-1]
    events = [(block.split("\n")[0][7:], json.loads(block.split("\n")[1][6:])) for block in blocks]
    names = [name for name, _ in events]
    assert (names[0], set(names[1:-1]), names[-1]) == ("sources", {"text"}, "done")
    assert "".join(data["text"] for name, data in events if name == "text").strip() == events[-1][1]["text"]
    assert set(events[-1][1]) == {"text", "grounded", "unsupported", "quoted"}
    document = rest.get("/openapi.json").json()
    content = document["paths"]["/v1/agents/{agent}/ask"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    schema = {**content["schema"], "components": document["components"]}
    assert schema["type"] == "object"
    for data in (*(data for _, data in events), *(example["value"] for example in content["examples"].values())):
        jsonschema.validate(data, schema, jsonschema.Draft202012Validator)


def test_ask_takes_where_instructions_history_and_no_language_model(rest):
    """A wrong message of the history is named."""
    _add(rest, "asked", {"text": "Ann lives in Rome"})
    [uid] = _add(rest, "asked", {"text": "Ann lives in Paris", "memory_type": "rumour"})
    body = {
        "question": "Where does she live?", "where": {"type": "rumour"}, "llm": False,
        "instructions": "Answer in one word.", "history": [{"role": "user", "content": "Tell me about Ann."}],
    }  # fmt: skip
    answer = rest.post("/v1/agents/asked/ask", json=body).json()
    assert ([source["uid"] for source in answer["sources"]], answer["quoted"]) == ([uid], True)
    assert "“Ann lives in Paris”" in answer["text"]
    wrong = rest.post("/v1/agents/asked/ask", json={**body, "history": [{"role": "tool", "content": "x"}]})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "history[0].role")


def test_ask_stream_with_wrong_input_is_answered_422(rest):
    """A stream that has begun could only report the error inside a 200."""
    answer = rest.post("/v1/agents/guide/ask", json={"question": "", "stream": True})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/search", {}, "query"),
        ("/search", {"query": ""}, "query"),
        ("/search", {"query": "x", "top_k": 0}, "top_k"),
        ("/search", {"query": "x", "top_k": "many"}, "top_k"),
        ("/v1/agents/a/search", {"query": "x", "top_k": 10**400}, "top_k"),
        ("/v1/agents/a/search", {"query": "x", "tpo_k": 1}, "tpo_k"),
        ("/v1/agents/a/search", {"query": "x", "where": {"n": {"$odd": 1}}}, "n"),
        ("/v1/agents/a/memories", {"text": ""}, "text"),
        ("/v1/agents/a/memories", {"text": "nul\0"}, "text"),
        ("/v1/agents/a/memories", {"text": "x" * 70_000}, "text"),
        ("/v1/agents/a/memories", {"text": "x", "uid": ""}, "uid"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}, {"text": " "}]}, "memories[1].text"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}, {}]}, "memories[1].text"),
        (
            "/v1/agents/a/memories",
            {"memories": [{"text": "x"}, {"text": "y", "expires_in_s": -1}]},
            "memories[1].expires_in_s",
        ),
        ("/v1/agents/a/memories", {"memories": [{"text": "x", "extra": {"b": "x" * 20_000}}]}, "memories[0].extra"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}] * 1_001}, "memories"),
        ("/v1/agents/a/memories", {"turns": [{"speaker": "A", "text": "x"}, {"speaker": "A"}]}, "turns[1].text"),
        ("/v1/agents/no%0Aname/memories", {"text": "x"}, "agent"),
        ("/v1/agents/a/ask", {"question": 5}, "question"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else None,
)
def test_wrong_input_is_refused_with_its_field_and_stores_nothing(rest, path, body, field):
    """The problem document is short, so it never repeats a long input."""
    answer = rest.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"].startswith(field)
    assert len(answer.text) < 2_000
    assert rest.get("/v1/agents/a/memories").json()["memories"] == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[1, 2]", 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "x", "extra": {"n": NaN}}', 422),
        (b'{"text": "x", "extra": {"n": 1' + b"0" * 30 + b"}}", 422),
        (b'{"text": "x", "extra": ' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"}", 422),
        (b'{"text": "x", "extra": {"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", 422),
        (b'{"text": "caf\xe9"}', 422),
    ],
    ids=["empty", "broken", "list", "surrogate", "nan", "huge number", "deep", "very deep", "not utf-8"],
)
def test_malformed_json_is_refused_with_a_problem_document(rest, content, status):
    """The server goes on answering."""
    answer = rest.post("/v1/agents/a/memories", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert rest.get("/healthz").status_code == 200


def test_streamed_body_over_8_mib_is_refused(rest):
    """The body has no Content-Length, so the server counts the bytes as they arrive."""

    def chunks():
        for _ in range(10):
            yield b" " * (1 << 20)

    answer = rest.post("/search", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/search", {}, 405),
        ("POST", "/search", {"content-encoding": "gzip"}, 415),
        ("GET", "/v1/stats", {"host": "evil.example"}, 421),
        ("GET", "/v1/agents/a/memories?limit=0", {}, 422),
    ],
)
def test_every_refusal_is_a_problem_document(rest, method, path, headers, status):
    """Router, middleware and routes refuse requests in the same form."""
    answer = rest.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_openapi_document_describes_the_main_routes(rest):
    """Authors of clients read it."""
    paths = rest.get("/openapi.json").json()["paths"]
    assert {"/search", "/healthz", "/readyz", "/v1/agents/{agent}/ask"} <= set(paths)


def test_search_explanation_adds_up_to_the_score(rest):
    """Weights change the signals, and a search without `explain` has no explanation."""
    _add(rest, "why", {"text": "The Louvre is a museum", "priority": 1}, {"text": "Cats sleep", "priority": 0})
    url = "/v1/agents/why/search"
    plain = rest.post(url, json={"query": "museum"}).json()["results"][0]
    assert "explanation" not in plain
    body = {"query": "museum", "explain": True, "weights": {"priority": 2, "nearby": 0}}
    best = rest.post(url, json=body).json()["results"][0]
    signals = {signal["name"]: signal for signal in best["explanation"]["signals"]}
    assert {"vector", "keyword", "priority"} <= set(signals)
    assert signals["priority"]["weight"] == pytest.approx(0.5)
    assert sum(signal["added"] for signal in signals.values()) == pytest.approx(best["score"], abs=1e-6)
    assert best["explanation"]["retrieved"] is None


def test_search_with_rerank_explains_both_rankings(rest):
    """The explanation contains the signals of the search before the re-ranking."""
    _add(rest, "again", {"text": "The Louvre is in Paris"}, {"text": "Cats sleep"})
    found = rest.post("/v1/agents/again/search", json={"query": "Louvre", "rerank": True, "explain": True}).json()
    assert [signal["name"] for signal in found["results"][0]["explanation"]["signals"]] == ["rerank"]
    assert found["results"][0]["explanation"]["retrieved"]["signals"]
    plain = rest.post("/v1/agents/again/search", json={"query": "Louvre", "rerank": False, "explain": True}).json()
    assert plain["results"][0]["explanation"]["retrieved"] is None


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
    uids = _add(rest, "chosen", *({"text": f"note {n}", "extra": {"n": n}} for n in range(6)))
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


def test_agent_settings_apply_until_they_are_deleted(rest):
    """Agents without settings work with the defaults."""
    url = "/v1/agents/given"
    assert rest.get(url).status_code == 404
    settings = {"description": "knows trains", "namespace": "shared", "answer_tokens": 2}
    stored = rest.put(url, json=settings).json()
    assert (
        stored
        == rest.get(url).json()
        == next(agent for agent in rest.get("/v1/agents").json()["agents"] if agent["name"] == "given")
    )
    assert {name: stored[name] for name in settings} == settings
    _add(rest, "given", {"text": "The Louvre is in Paris"})
    assert rest.get("/v1/agents/shared/memories:count").json() == {"count": 1}
    short = rest.post(f"{url}/ask", json={"question": "Where is the Louvre? Tell a long story."}).json()["text"]
    longer = {"question": "Where is the Louvre? Tell a long story.", "answer_tokens": 30, "memory_type": "fact"}
    assert len(rest.post(f"{url}/ask", json=longer).json()["text"]) > len(short)
    for field, value in {"answer_tokens": 0, "namespace": "x\n", "unknown": 1}.items():
        refused = rest.put(url, json={field: value})
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert rest.delete(url).status_code == 204
    assert rest.delete(url).status_code == 404
    listed = [agent["name"] for agent in rest.get("/v1/agents").json()["agents"]]
    assert "given" not in listed
    assert "shared" in listed  # it has memories


def test_stats_show_the_tenants_counts_and_no_paths(rest):
    """They describe the engine and nothing of the machine."""
    stats = rest.get("/v1/stats").json()
    assert set(stats) == {"agents", "collections", "embedding_model", "results", "store"}
    assert set(stats["store"]) == {"engine", "dim", "metric", "index"}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/guide", "/mcp/guide/"])
def test_address_of_mcp_may_end_in_a_slash(rest, path):
    """People paste it so."""
    headers = {"accept": "application/json, text/event-stream"}
    answer = rest.post(path, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_are_answered_under_the_address_of_a_container(rest, path, method):
    """Orchestrators know no name of the server, and load balancers ask with HEAD."""
    answer = rest.request(method, path, headers={"host": "10.9.8.7:8000"})
    assert answer.status_code == 200
    assert bool(answer.content) is (method == "GET")


def test_spaces_around_the_value_of_a_header_are_no_part_of_it(rest, shared_machine):
    """Keys are pasted with them."""
    with socket.create_connection((rest.base_url.host, rest.base_url.port)) as connection:
        key = shared_machine.key
        head = f"GET /v1/stats HTTP/1.1\r\nHost:\t localhost \r\nX-API-Key:  {key} \t\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.makefile("rb").readline().split()[1] == b"200"
