"""Commands work beside each other, and where little can be encoded or nothing is set."""

from __future__ import annotations

import json

from super_advanced_agents.stores import FAISSVectorStore


def test_commands_that_run_at_once_wait_for_each_other(machine):
    """Hooks and timers start several; none of their memories is lost."""
    machine.saa("add", "first")
    running = [machine.start("add", f"note {i}") for i in range(4)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert machine.json("list")["total"] == 5


def test_output_that_cannot_be_encoded_is_substituted(machine):
    """JSON keeps every character as an escape."""
    machine.saa("add", "Party \N{PARTY POPPER}")
    narrow = {"PYTHONIOENCODING": "cp1252"}
    for options, expected in (((), "Party ?"), (("--json",), "Party \\ud83c\\udf89")):
        with machine.start("list", *options, environment=narrow) as process:
            printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert expected in printed
    assert json.loads(printed)["memories"][0]["text"] == "Party \N{PARTY POPPER}"


def test_saa_mcp_waits_for_a_command_that_uses_its_folder(machine):
    """A client of MCP would otherwise lose its memory for the whole session."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with FAISSVectorStore(384, machine.data_dir / "store"):
        waiting = machine.start("mcp")
        while "Waiting up to" not in waiting.stderr.readline():
            assert waiting.poll() is None
    printed, _ = waiting.communicate(json.dumps(ping) + "\n", timeout=120)
    assert (waiting.returncode, json.loads(printed)["result"]) == (0, {})
