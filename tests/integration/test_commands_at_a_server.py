"""Commands of `saa` with `--url` work on a server's memories, and one on its folder names its address."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module", params=["url", "grpc"])
def at_server(request, new_machine, tmp_path_factory):
    """Run `saa` against a server, over REST or gRPC, from a machine without data."""
    machine = new_machine(tmp_path_factory.mktemp("server"))
    elsewhere = new_machine(tmp_path_factory.mktemp("elsewhere") / "none")
    with machine.server() as client:
        info = client.startup_info
        environment = {"SAA_URL": info[request.param], "SAA_API_KEY": info["admin_key"]}

        def run(*arguments, code=0):
            with elsewhere.start(*arguments, environment=environment) as process:
                stdout, stderr = process.communicate(timeout=60)
            assert process.returncode == code, stderr
            return stdout, stderr

        yield run
        assert not elsewhere.data_dir.exists()


def test_memories_at_a_server_are_stored_found_changed_and_deleted(at_server):
    """Each command has the results that it has on a folder."""
    assert at_server("add", "Rex is a dog in Oslo", "--uid", "rex", "--agent", "pets")[0] == "rex\n"
    at_server("edit", "rex", "--agent", "pets", "--extra", '{"age": 4}')
    assert json.loads(at_server("get", "rex", "--agent", "pets", "--json")[0])["metadata"]["age"] == 4
    [match] = json.loads(at_server("search", "dog", "--agent", "pets", "--json")[0])["results"]
    assert match["uid"] == "rex"
    assert {"name": "pets"} in json.loads(at_server("agents", "--json")[0])["agents"]
    answer = json.loads(at_server("ask", "Where is Rex?", "--agent", "pets", "--no-llm", "--json")[0])
    assert "Oslo" in answer["text"]
    assert at_server("ask", "Where is Rex?", "--agent", "pets", "--no-llm")[0].startswith("Sources:\n  [1] Rex")
    assert json.loads(at_server("list", "--agent", "pets", "--json")[0])["total"] == 1
    assert json.loads(at_server("forget", "--all", "--yes", "--agent", "pets", "--json")[0]) == {"forgotten": 1}
    assert "no memory" in at_server("get", "rex", "--agent", "pets", code=1)[1]


def test_command_on_the_folder_of_a_server_names_its_address(machine):
    """The message says which server has the folder, and how to have it do the work; at the end the note is gone."""
    with machine.server() as client:
        errors = machine.start_and_fail("list")
        url = client.startup_info["url"]
        assert f"in use by the server at {url}" in errors
        assert f"--url {url}" in errors
        note = machine.data_dir / "server" / "address.json"
        assert note.stat().st_mode & 0o777 == 0o600
    assert not note.exists()
    machine.saa("list")


def test_typed_folder_goes_before_a_server_of_the_environment(machine):
    """`--data-dir` on the command line means that folder, even if SAA_URL names a server."""
    machine.saa("add", "Rex is a dog in Oslo", "--uid", "rex")
    elsewhere = {"SAA_URL": "http://127.0.0.1:9"}
    with machine.start("get", "rex", "--data-dir", str(machine.data_dir), environment=elsewhere) as process:
        assert process.communicate(timeout=60)[0].startswith("Rex is a dog")
    both = ("get", "rex", "--data-dir", str(machine.data_dir), "--url", "http://127.0.0.1:9")
    with machine.start(*both) as process:
        assert "cannot be reached" in process.communicate(timeout=60)[1]
