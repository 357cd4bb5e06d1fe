"""Test `saa add`, `list`, `forget`, `search`, `ask` and `pull`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest


def test_add_takes_its_text_from_an_argument_a_file_or_standard_input(saa, tmp_path):
    """The texts are stored alike."""
    (tmp_path / "note.txt").write_text("The Prado is in Madrid\n")
    saa("add", "The Louvre is in Paris")
    saa("add", "--file", tmp_path / "note.txt")
    saa("add", stdin="The Uffizi is in Florence\n")
    saa("add", "-", stdin="The Tate is in London\n")
    listed = saa.json("list")
    assert listed["total"] == 4
    assert {memory["text"].strip() for memory in listed["memories"]} == {
        "The Louvre is in Paris",
        "The Prado is in Madrid",
        "The Uffizi is in Florence",
        "The Tate is in London",
    }


def test_add_stores_the_type_uid_metadata_and_source_of_a_memory(saa):
    """`list` shows them without the vector."""
    added = saa.json(
        "add", "Paris", "--type", "place", "--uid", "p1", "--extra", '{"country": "France"}', "--source", "atlas"
    )
    assert added == {"uids": ["p1"]}
    [memory] = saa.json("list", "--where", '{"country": "France"}')["memories"]
    assert memory["metadata"] == {"text": "Paris", "type": "place", "country": "France"}
    assert memory["source"] == "atlas"
    assert "vector" not in memory


def test_add_with_dedupe_returns_the_uid_of_the_equal_memory(saa):
    """Another priority does not make it another memory."""
    [uid] = saa.json("add", "The Louvre is in Paris", "--priority", "0.5")["uids"]
    assert saa.json("add", "The Louvre is in Paris", "--dedupe", "--priority", "1")["uids"] == [uid]
    assert saa.json("add", "The Louvre is in Paris")["uids"] != [uid]
    assert saa.json("list")["total"] == 2


def test_search_with_explain_shows_the_parts_of_each_score(saa):
    """The numbers add up to the score; without the option nothing is explained."""
    saa("add", "The Louvre is a museum in Paris.")
    [match] = saa.json("search", "museum", "--explain")["results"]
    assert [signal["name"] for signal in match["explanation"]["signals"]] == ["vector", "keyword"]
    assert abs(sum(signal["added"] for signal in match["explanation"]["signals"]) - match["score"]) < 1e-6
    table = saa("search", "museum", "--explain").stdout
    assert "keyword" in table
    assert "measured" in table
    assert "explanation" not in saa.json("search", "museum")["results"][0]
    assert "measured" not in saa("search", "museum").stdout


def test_search_finds_by_meaning_within_filters_and_types(saa):
    """The best match is first; people see the text, programs the server's shape."""
    saa("add", "The Louvre is a museum", "--type", "place", "--uid", "louvre")
    saa("add", "Cats sleep all day", "--uid", "cats")
    [best, other] = saa.json("search", "art gallery")["results"]
    assert (best["uid"], other["uid"]) == ("louvre", "cats")
    assert set(best) == {
        *("uid", "text", "score", "similarity", "metadata"),
        *("source", "session", "created_at", "updated_at"),
    }
    assert [each["uid"] for each in saa.json("search", "art", "--where", '{"type": "fact"}')["results"]] == ["cats"]
    assert [each["uid"] for each in saa.json("search", "art", "--type", "place")["results"]] == ["louvre"]
    assert len(saa.json("search", "art", "--top-k", 1, "--mode", "vector")["results"]) == 1
    assert "The Louvre is a museum" in saa("search", "art").stdout


def test_search_shows_people_the_source_and_the_similarity_of_each_match(saa):
    """The line below the text names them; a match that only keywords found has no similarity."""
    saa("add", "The ferry leaves at nine", "--source", "trips/log.md", "--uid", "ferry")
    [match] = saa.json("search", "ferry")["results"]
    assert match["source"] == "trips/log.md"
    stored_at = datetime.fromtimestamp(match["created_at"], UTC).isoformat(timespec="seconds")
    details = saa("search", "ferry").stdout.splitlines()[1].strip()
    assert details == f"ferry  similarity {match['similarity']:.3f}  trips/log.md  {stored_at}"
    details = saa("search", "ferry", "--mode", "keyword").stdout.splitlines()[1].strip()
    assert details == f"ferry  trips/log.md  {stored_at}"


def test_search_with_a_least_similarity_finds_nothing_about_what_is_not_known(saa):
    """`ask` then says that nothing is known."""
    saa("add", "The ferry leaves at nine")
    question = "Which enzyme breaks down lactose?"
    assert len(saa.json("search", question)["results"]) == 1
    assert saa.json("search", question, "--min-similarity", "0.3")["results"] == []
    assert "No memories were found" in saa("search", question, "--min-similarity", "0.3").stderr
    assert saa.json("ask", question, "--min-similarity", "0.3")["sources"] == []


def test_list_with_a_filter_that_matches_nothing_says_so(saa):
    """Only an agent without memories is told to begin."""
    assert "The agent 'default' has no memories yet" in saa("list").stderr
    saa("add", "something")
    said = saa("list", "--where", '{"type": "recipe"}').stderr
    assert "No memory matches the filter" in said
    assert "no memories yet" not in said


def test_ask_prints_the_sources_and_then_the_answer_and_its_check(saa):
    """With and without `--json` the answer is the same."""
    saa("add", "The Louvre is in Paris")
    answer = saa.json("ask", "Where is the Louvre?")
    assert "Paris" in answer["text"]
    assert [source["text"] for source in answer["sources"]] == ["The Louvre is in Paris"]
    result = saa("ask", stdin="Where is the Louvre?")
    printed = result.stdout
    assert "1 of 6 simple questions" in result.stderr
    assert printed.startswith("Sources:\n  [1] The Louvre is in Paris\n\n" + answer["text"])
    assert ("no source has" in printed) == (not answer["grounded"])


def test_ask_without_a_language_model_quotes_the_sources(saa, tmp_path, monkeypatch):
    """A model that cannot be loaded is no error, and a note says so."""
    saa("add", "The Louvre is in Paris")
    saa("add", "The Louvre is in Rome", "--type", "rumour")
    answer = saa.json("ask", "Where is the Louvre?", "--no-llm", "--where", '{"type": "rumour"}')
    assert (answer["quoted"], [source["text"] for source in answer["sources"]]) == (True, ["The Louvre is in Rome"])
    monkeypatch.setenv("SAA_GENERATION_MODEL", str(tmp_path / "none.gguf"))
    result = saa("ask", "Where is the Louvre?", "--top-k", "1", "--instructions", "Be brief.")
    assert "[1] “The Louvre is in" in result.stdout
    assert "saa setup" in result.stderr


def test_search_and_list_of_an_empty_store_succeed(saa):
    """They find nothing, and a hint says how to begin."""
    assert saa.json("search", "museum") == {"results": []}
    assert saa.json("list") == {"memories": [], "next": None, "total": 0}
    assert "saa add" in saa("list").stderr


def test_list_continues_after_the_next_uid_of_a_page(saa):
    """`next` is the value for `--after`."""
    for n in range(5):
        saa("add", f"text {n}", "--uid", f"u{n}")
    first = saa.json("list", "--limit", 3)
    assert [memory["uid"] for memory in first["memories"]] == ["u0", "u1", "u2"]
    second = saa.json("list", "--limit", 3, "--after", first["next"])
    assert [memory["uid"] for memory in second["memories"]] == ["u3", "u4"]
    assert second["next"] is None


def test_forget_deletes_by_uid_by_filter_or_everything(saa):
    """With an unknown uid the exit code is 1."""
    for n in range(4):
        saa("add", f"text {n}", "--uid", f"u{n}", "--extra", json.dumps({"n": n}))
    assert saa.json("forget", "u0") == {"forgotten": 1}
    assert saa.json("forget", "--where", '{"n": {"$gte": 3}}') == {"forgotten": 1}
    assert saa.json("forget", "u1", "nobody", code=1) == {"forgotten": 1}
    assert saa.json("forget", "--all", "--yes") == {"forgotten": 1}
    assert saa.json("list")["total"] == 0


def test_agent_option_separates_the_memories_of_agents(saa):
    """The default agent does not see those of others."""
    saa("add", "only Ann knows", "--agent", "ann")
    assert saa.json("list", "--agent", "ann")["total"] == 1
    assert saa.json("list")["total"] == 0


def test_list_and_search_escape_terminal_sequences_in_texts(saa):
    """Programs get the text unchanged."""
    saa("add", "red \x1b[31malert")
    assert "\x1b" not in saa("list").stdout
    assert "\x1b" not in saa("search", "alert").stdout
    assert saa.json("list")["memories"][0]["text"] == "red \x1b[31malert"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", ""], "text is empty"),
        (["add", "nul\0"], "NUL"),
        (["add", "x" * 70_000], "longer than 65536 bytes"),
        (["add", "a", "--extra", "[]"], "--extra must be a JSON object"),
        (["add", "a", "--file", "b"], "given twice"),
        (["add", "--file", "nowhere"], "cannot read 'nowhere'"),
        (["add", "a", "--agent", "no\nname"], "a control character"),
        (["search", "a", "--top-k", "0"], "top_k must be"),
        (["search", "a", "--where", "{"], "--where is not JSON"),
        (["search", "a", "--where", '{"n": {"$odd": 1}}'], "$odd"),
        (["forget"], "nothing was named"),
        (["forget", "a", "--all"], "--all comes without"),
        (["import", "nowhere"], "no file 'nowhere'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_invalid_request_prints_one_error_on_standard_error(saa, arguments, message):
    """Its exit code is 2, and with `--json` the error is an object."""
    result = saa(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert message in json.loads(saa(*arguments, "--json", code=2).stderr)["error"]["message"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["search", "a", "--mode", "odd"], ["list", "--limit", "0"], []])
def test_wrong_usage_has_exit_code_2(saa, arguments):
    """The parser of the arguments refuses some of it."""
    saa(*arguments, code=2)


def test_list_of_a_store_in_use_names_the_process_that_holds_it(saa):
    """Its exit code is 1."""
    from super_advanced_agents.stores import FAISSVectorStore

    with FAISSVectorStore(384, saa.data_dir / "store"):
        assert "in use by process" in saa("list", code=1).stderr


def test_add_fails_when_the_data_folder_cannot_be_created(saa, tmp_path):
    """A file in its place stops even root, unlike missing permissions."""
    (tmp_path / "data").write_text("in the way")
    assert "is a file, no data folder" in saa("add", "x", code=2).stderr


def test_unknown_model_is_named_by_add_and_pull(saa, monkeypatch, tmp_path):
    """`pull` also lists the known models."""
    monkeypatch.setenv("SAA_EMBEDDING_MODEL", "no-such-model")
    assert "no-such-model" in saa("add", "x", code=1).stderr
    assert "known models" in saa("pull", "no-such-model", code=1).stderr


def test_pull_of_present_models_lists_them(saa):
    """It checks their files and fetches nothing."""
    pulled = saa.json("pull")["models"]
    assert [model["name"] for model in pulled] == ["all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e12"])
def test_refused_lifetime_is_named_as_the_caller_knows_it(saa, seconds):
    """The message tells the bounds, of which 0 is none, and no place in a list."""
    error = saa("add", "x", "--expires-in-s", seconds, code=2).stderr
    assert "expires_in_s must be more than 0 and at most" in error
    assert "[0]" not in error
