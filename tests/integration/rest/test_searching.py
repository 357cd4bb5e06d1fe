"""Search over REST: filters, modes, explanations, and what a match says of itself."""

from __future__ import annotations

import pytest
from tests.integration.rest.conftest import add


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
    add(rest, "origins", {"text": "The ferry leaves at nine", "source": "trips/log.md"}, {"text": "Cats sleep"})

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


def test_search_applies_filter_and_memory_type_in_every_mode(rest):
    """Hybrid, vector and keyword search filter in different code."""
    kinds = ("even", "odd")
    add(rest, "narrow", *({"text": f"note {n}", "extra": {"n": n}, "memory_type": kinds[n % 2]} for n in range(6)))
    url = "/v1/agents/narrow/search"
    for mode in ("hybrid", "vector", "keyword"):
        body = {"query": "note", "mode": mode, "where": {"n": {"$gte": 2}}, "memory_type": "even", "top_k": 10}
        found = rest.post(url, json=body).json()["results"]
        assert {each["metadata"]["n"] for each in found} == {2, 4}


def test_search_explanation_adds_up_to_the_score(rest):
    """Weights change the signals, and a search without `explain` has no explanation."""
    add(rest, "why", {"text": "The Louvre is a museum", "priority": 1}, {"text": "Cats sleep", "priority": 0})
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
    add(rest, "again", {"text": "The Louvre is in Paris"}, {"text": "Cats sleep"})
    found = rest.post("/v1/agents/again/search", json={"query": "Louvre", "rerank": True, "explain": True}).json()
    assert [signal["name"] for signal in found["results"][0]["explanation"]["signals"]] == ["rerank"]
    assert found["results"][0]["explanation"]["retrieved"]["signals"]
    plain = rest.post("/v1/agents/again/search", json={"query": "Louvre", "rerank": False, "explain": True}).json()
    assert plain["results"][0]["explanation"]["retrieved"] is None
