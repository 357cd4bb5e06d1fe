"""`saa get`, `saa edit` and `saa agents` on a data folder, and what reading leaves behind."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def stored(saa):
    """Store one memory with every part, and return the command line."""
    saa("add", "Tom is a cat", "--uid", "tom", "--extra", '{"age": 3}', "--source", "notes.md", "--priority", 0.5)
    return saa


def test_get_prints_a_memory_with_its_parts(stored):
    """People read the text first; programs get the parts as JSON, without the vector."""
    printed = stored("get", "tom").stdout
    assert printed.startswith("Tom is a cat\n")
    assert "notes.md" in printed
    found = stored.json("get", "tom")
    assert (found["text"], found["source"], found["priority"]) == ("Tom is a cat", "notes.md", 0.5)
    assert "vector" not in found


@pytest.mark.parametrize("command", [["get", "x"], ["edit", "x", "a text"]])
def test_unknown_memory_fails_with_the_way_to_the_known_ones(stored, command):
    """The exit code is 1, and the hint names the next command."""
    assert "saa list" in stored(*command, code=1).stderr


def test_edit_changes_the_given_parts_only(stored):
    """Keys that are null in `--extra` go; a new text is found by its words at once."""
    stored("edit", "tom", "--extra", '{"age": null, "food": "fish"}', "--source", "")
    found = stored.json("get", "tom")
    assert found["metadata"] == {"text": "Tom is a cat", "type": "fact", "food": "fish"}
    assert (found["source"], found["priority"]) == (None, 0.5)
    stored("edit", "tom", "Tom is a parrot", "--expires-in-s", 1_000)
    [match] = stored.json("search", "parrot")["results"]
    assert (match["uid"], match["text"]) == ("tom", "Tom is a parrot")
    assert stored.json("get", "tom")["expires_at"] is not None
    stored("edit", "tom", "--never-expires")
    assert stored.json("get", "tom")["expires_at"] is None


@pytest.mark.parametrize("options", [[], ["--never-expires", "--expires-in-s", 1]])
def test_edit_without_a_change_or_with_two_expiries_is_refused(stored, options):
    """It is wrong usage: exit code 2."""
    stored("edit", "tom", *options, code=2)


def test_agents_lists_those_with_memories(stored):
    """Each name stands once, sorted."""
    stored("add", "Rex is a dog", "--agent", "b")
    stored("add", "Rex is a good dog", "--agent", "b")
    assert stored.json("agents") == {"agents": [{"name": "b"}, {"name": "default"}]}
    assert stored("agents").stdout == "b\ndefault\n"


@pytest.mark.parametrize(
    "command", [["list"], ["get", "x"], ["search", "cat"], ["agents"], ["forget", "x"], ["add", " "]]
)
def test_command_that_stores_nothing_creates_no_folder(saa, command):
    """Reading where nothing is stored, and a text that is refused, leave the disk as it was."""
    saa(*command, code=None)
    assert not saa.data_dir.exists()


def test_forgetting_everything_needs_a_yes(stored):
    """Without a terminal nobody can be asked, so nothing is deleted."""
    assert "--yes" in stored("forget", "--all", code=2).stderr
    assert stored.json("list")["total"] == 1
    assert stored.json("forget", "--all", "--yes") == {"forgotten": 1}


def test_default_folder_is_the_local_one_if_there_is_one_else_the_users(tmp_path, monkeypatch):
    """`./saa-data` wins over the user's data folder; reading creates neither."""
    from super_advanced_agents.tenancy.data_folder.place import default_data_dir

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv("SAA_DATA_DIR", raising=False)
    assert default_data_dir() == tmp_path / "share" / "super-advanced-agents"
    assert not (tmp_path / "share").exists()
    (tmp_path / "saa-data").mkdir()
    assert str(default_data_dir()) == "saa-data"


@pytest.mark.parametrize(
    "arguments", [["list", "--limit", "x"], ["lst"], ["list", "--bogus"], ["search", "--mode", "x"]]
)
def test_wrong_usage_is_told_as_json_where_json_is_asked_for(arguments, monkeypatch, capsys):
    """Programs that pass `--json` parse every error in one way; the exit code stays 2."""
    from super_advanced_agents.cli.main import main

    monkeypatch.setattr("sys.argv", ["saa", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    error = json.loads(capsys.readouterr().err)["error"]
    assert (ended.value.code, error["type"]) == (2, "UsageError")
    assert "--help" in error["hint"]
