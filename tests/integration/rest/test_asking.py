"""Questions over REST: answers with sources, streams, and the settings of an agent."""

from __future__ import annotations

import json

import jsonschema
import pytest
from tests.integration.rest.conftest import add


def test_ask_returns_text_and_sources_as_json(rest):
    """Callers that request no stream get one document."""
    [uid] = add(rest, "guide", {"text": "The Louvre is in Paris"})
    answer = rest.post("/v1/agents/guide/ask", json={"question": "Where is the Louvre?"}).json()
    assert "Paris" in answer["text"]
    assert [source["uid"] for source in answer["sources"]] == [uid]
    assert (answer["grounded"], answer["quoted"]) == (not answer["unsupported"], False)


@pytest.mark.parametrize("how", ["member", "header"])
def test_ask_streams_sources_then_text_then_done(rest, how):
    """A member of the body or the `Accept` header requests the stream."""
    add(rest, f"stream-{how}", {"text": "The Louvre is in Paris"})
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
    add(rest, "asked", {"text": "Ann lives in Rome"})
    [uid] = add(rest, "asked", {"text": "Ann lives in Paris", "memory_type": "rumour"})
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
    add(rest, "given", {"text": "The Louvre is in Paris"})
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
