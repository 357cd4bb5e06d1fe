"""`saa add`, `list`, `forget`, `search`, `ask`."""

from __future__ import annotations

import json

import pytest


def test_text_comes_from_an_argument_a_file_or_standard_input(saa, tmp_path):
    """All three are remembered alike."""
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


def test_a_memory_carries_what_it_was_added_with(saa):
    """Label, name, metadata and source."""
    added = saa.json(
        "add", "Paris", "--type", "place", "--uid", "p1", "--extra", '{"country": "France"}', "--source", "atlas"
    )
    assert added == {"uids": ["p1"]}
    [memory] = saa.json("list", "--where", '{"country": "France"}')["memories"]
    assert memory["metadata"] == {"text": "Paris", "type": "place", "country": "France"}
    assert memory["source"] == "atlas"
    assert "vector" not in memory


def test_a_memory_is_added_once_when_asked(saa):
    """With `--dedupe` the name it has is printed; a priority is no part of what it says."""
    [uid] = saa.json("add", "The Louvre is in Paris", "--priority", "0.5")["uids"]
    assert saa.json("add", "The Louvre is in Paris", "--dedupe", "--priority", "1")["uids"] == [uid]
    assert saa.json("add", "The Louvre is in Paris")["uids"] != [uid]
    assert saa.json("list")["total"] == 2


def test_search_explains_its_scores_when_asked(saa):
    """As a table for people and as numbers for programs, which add up; without being asked it says nothing of it."""
    saa("add", "The Louvre is a museum in Paris.")
    [match] = saa.json("search", "museum", "--explain")["results"]
    assert [signal["name"] for signal in match["explanation"]["signals"]] == ["vector", "keyword"]
    assert abs(sum(signal["added"] for signal in match["explanation"]["signals"]) - match["score"]) < 1e-6
    table = saa("search", "museum", "--explain").stdout
    assert "keyword" in table
    assert "measured" in table
    assert "explanation" not in saa.json("search", "museum")["results"][0]
    assert "measured" not in saa("search", "museum").stdout


def test_search_finds_by_meaning_and_narrows(saa):
    """Best first; filters and types are options; people see the text, programs the server's shape."""
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


def test_ask_answers_and_lists_its_sources(saa):
    """For people piece by piece, for programs as one object; both say the same."""
    saa("add", "The Louvre is in Paris")
    answer = saa.json("ask", "Where is the Louvre?")
    assert "Paris" in answer["text"]
    assert [source["text"] for source in answer["sources"]] == ["The Louvre is in Paris"]
    told = saa("ask", stdin="Where is the Louvre?").stdout
    assert told.startswith(answer["text"])
    assert "[1] The Louvre is in Paris" in told


def test_an_empty_memory_is_no_error(saa):
    """Nothing is found, and a hint says how to begin."""
    assert saa.json("search", "museum") == {"results": []}
    assert saa.json("list") == {"memories": [], "next": None, "total": 0}
    assert "saa add" in saa("list").stderr


def test_pages_follow_each_other(saa):
    """`next` goes into `--after`."""
    for n in range(5):
        saa("add", f"text {n}", "--uid", f"u{n}")
    first = saa.json("list", "--limit", 3)
    assert [memory["uid"] for memory in first["memories"]] == ["u0", "u1", "u2"]
    second = saa.json("list", "--limit", 3, "--after", first["next"])
    assert [memory["uid"] for memory in second["memories"]] == ["u3", "u4"]
    assert second["next"] is None


def test_forgetting_by_name_by_filter_and_altogether(saa):
    """An unknown name is told, with exit code 1."""
    for n in range(4):
        saa("add", f"text {n}", "--uid", f"u{n}", "--extra", json.dumps({"n": n}))
    assert saa.json("forget", "u0") == {"forgotten": 1}
    assert saa.json("forget", "--where", '{"n": {"$gte": 3}}') == {"forgotten": 1}
    assert saa.json("forget", "u1", "nobody", code=1) == {"forgotten": 1}
    assert saa.json("forget", "--all") == {"forgotten": 1}
    assert saa.json("list")["total"] == 0


def test_agents_see_their_own_memories(saa):
    """`--agent` says whose they are."""
    saa("add", "only Ann knows", "--agent", "ann")
    assert saa.json("list", "--agent", "ann")["total"] == 1
    assert saa.json("list")["total"] == 0


def test_a_text_cannot_steer_the_terminal(saa):
    """Escape sequences are shown, not obeyed; programs get them as they are."""
    saa("add", "red \x1b[31malert")
    assert "\x1b" not in saa("list").stdout
    assert "\x1b" not in saa("search", "alert").stdout
    assert saa.json("list")["memories"][0]["text"] == "red \x1b[31malert"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", ""], "text is empty"),
        (["add", "nul\0"], "NUL"),
        (["add", "x" * 70_000], "longer than 65536 bytes"),
        (["add", "a", "--extra", "[]"], "--extra must be a JSON object"),
        (["add", "a", "--file", "b"], "given twice"),
        (["add", "--file", "nowhere"], "cannot read 'nowhere'"),
        (["add", "a", "--agent", "no name"], "not a name"),
        (["search", "a", "--top-k", "0"], "top_k must be"),
        (["search", "a", "--where", "{"], "--where is not JSON"),
        (["search", "a", "--where", '{"n": {"$odd": 1}}'], "$odd"),
        (["forget"], "nothing was named"),
        (["forget", "a", "--all"], "--all comes without"),
        (["import", "nowhere"], "no file 'nowhere'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_with_a_request_is_told_in_a_sentence(saa, arguments, told):
    """On standard error, with exit code 2, and as JSON for programs."""
    done = saa(*arguments, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert told in done.stderr
    assert told in json.loads(saa(*arguments, "--json", code=2).stderr)["error"]["message"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["search", "a", "--mode", "odd"], ["list", "--limit", "0"], []])
def test_wrong_usage_ends_with_2(saa, arguments):
    """What the parser refuses, too."""
    saa(*arguments, code=2)


def test_a_second_owner_is_told_who_has_the_folder(saa):
    """Exit code 1, and the hint."""
    from super_advanced_agents.stores import FAISSVectorStore

    with FAISSVectorStore(384, saa.data_dir / "store"):
        assert "in use by process" in saa("list", code=1).stderr


def test_a_read_only_folder_is_told(saa, tmp_path):
    """A file where the folder should be is the kind that root meets as well."""
    (tmp_path / "data").write_text("in the way")
    assert "is not a folder" in saa("add", "x", code=1).stderr


def test_a_missing_model_is_told_with_the_command_that_fetches_it(saa, monkeypatch, tmp_path):
    """When it cannot be fetched just now; `pull` itself names unknown models."""
    monkeypatch.setenv("SAA_EMBEDDING_MODEL", "no-such-model")
    assert "no-such-model" in saa("add", "x", code=1).stderr
    assert "known models" in saa("pull", "no-such-model", code=1).stderr


def test_pull_of_what_is_there_checks_it(saa):
    """Nothing is fetched twice."""
    pulled = saa.json("pull")["models"]
    assert [model["name"] for model in pulled] == ["all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"]
