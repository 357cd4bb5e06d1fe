"""Test what commands do where their output cannot be written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from super_advanced_agents.stores import FAISSVectorStore

PROGRAM = "from super_advanced_agents.cli.main import main; main()"


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a shell command in which `saa` is the command on a folder with one memory."""
    with FAISSVectorStore(2, tmp_path / "store") as store:
        store.add([1.0, 0.0], {"text": "A text " + "word " * 10_000}, "u1", namespace="default")

    def run(command):
        saa = f"{sys.executable} -c '{PROGRAM}'"
        script = f'saa() {{ {saa} "$@" --data-dir {tmp_path}; }}; {command}'
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)

    return run


def test_full_disk_behind_standard_output_is_an_error_of_one_line(run):
    """The exit code says that the result was not written."""
    done = run("saa list > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output cannot be written: No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("closed", "code"), [("saa list >&-", 0), ("saa list <&-", 0), ("saa get nobody 2>&-", 1)])
def test_closed_streams_are_no_reason_to_fail(run, closed, code):
    """They are those of a process manager that closes them."""
    done = run(closed)
    assert (done.returncode, done.stderr) == (code, "")


def test_reader_that_ends_early_is_no_reason_for_a_traceback(run):
    """`true` has ended when the first byte is written; `head` might still read, and take what little there is."""
    done = run("saa get u1 | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_data_folder_that_is_a_file_is_refused(saa, tmp_path):
    """A command that reads would find nothing in it, without a word."""
    (tmp_path / "notes.txt").write_text("x")
    for command in ("list", "search"):
        refused = saa(command, *(["x"] if command == "search" else []), "--data-dir", tmp_path / "notes.txt", code=2)
        assert "is a file" in refused.output
