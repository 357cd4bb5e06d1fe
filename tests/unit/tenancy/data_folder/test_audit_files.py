"""Test the files of the audit log: what was written stays provable, and every change to it is found."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.tenancy.data_folder.audit_files import GENESIS, AuditFiles

ENTRIES = [{"tenant": tenant, "operation": f"op{n}", "target": f"t{n}"} for n in range(6) for tenant in ("a", "b")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write a log of three files."""
    folder = tmp_path_factory.mktemp("audit") / "audit"
    files = AuditFiles(folder, file_bytes=700)
    for entry in ENTRIES:
        files.append([entry])
    assert len(list(folder.glob("audit-*"))) == 3
    return folder


def _changed(written, target, change):
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(written, target)
    change(sorted(target.glob("audit-*")))
    return AuditFiles(target).verify()


def test_log_that_nobody_changed_is_valid(written):
    """Every entry counts, and the head is the hash of the last one."""
    found = AuditFiles(written).verify()
    assert (found.entries, found.faults) == (len(ENTRIES), [])
    assert AuditFiles(written).newest(limit=1)[0]["hash"] == found.head


def test_folder_without_a_log_is_valid_and_empty(tmp_path):
    """Unless a head of it is known."""
    assert AuditFiles(tmp_path / "none").verify().faults == []
    assert AuditFiles(tmp_path / "none").verify("ab" * 32).faults


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.data())
def test_edited_byte_is_found(written, tmp_path, number, data):
    """Wherever it stands, and whatever the byte becomes."""
    size = sorted(written.glob("audit-*"))[number].stat().st_size
    position, byte = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 255))

    def edit(paths):
        content = bytearray(paths[number].read_bytes())
        content[position] = byte if byte != content[position] else byte ^ 1
        paths[number].write_bytes(content)

    assert _changed(written, tmp_path / "changed", edit).faults


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.data())
def test_file_cut_at_any_byte_is_found(written, tmp_path, number, data):
    """Its last line may be whole or not."""
    size = sorted(written.glob("audit-*"))[number].stat().st_size
    end = data.draw(st.integers(0, size - 1))

    def cut(paths):
        paths[number].write_bytes(paths[number].read_bytes()[:end])

    assert _changed(written, tmp_path / "changed", cut).faults


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.data())
def test_lines_in_another_order_left_out_or_twice_are_found(written, tmp_path, number, data):
    """Each line names the one before it."""
    lines = sorted(written.glob("audit-*"))[number].read_bytes().splitlines(keepends=True)
    others = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 1).filter(lambda drawn: drawn != lines))

    def reorder(paths):
        paths[number].write_bytes(b"".join(others))

    assert _changed(written, tmp_path / "changed", reorder).faults


def test_removed_or_added_file_is_found(written, tmp_path):
    """The head names the first and the last one."""
    assert _changed(written, tmp_path / "c", lambda paths: paths[0].unlink()).faults
    assert _changed(written, tmp_path / "c", lambda paths: paths[2].unlink()).faults
    assert _changed(
        written, tmp_path / "c", lambda paths: paths[0].rename(paths[0].with_name("audit-000009.jsonl"))
    ).faults
    assert _changed(written, tmp_path / "c", lambda paths: (paths[0].parent / "head.json").unlink()).faults


def test_log_that_was_replaced_as_a_whole_lacks_a_known_head(written, tmp_path):
    """A forger of the whole folder does not know the head that was noted elsewhere."""
    known = AuditFiles(written).verify().head
    forged = AuditFiles(tmp_path / "forged")
    forged.append(ENTRIES[:3])
    assert not forged.verify().faults
    assert forged.verify(known).faults
    assert not AuditFiles(written).verify(known).faults


def test_writing_goes_on_after_a_crash_and_keeps_whole_lines(written, tmp_path):
    """Half a line is cut; whole ones behind the head were written before the crash."""
    folder = tmp_path / "crashed"
    files = AuditFiles(folder)
    files.append(ENTRIES[:2])
    head = (folder / "head.json").read_bytes()
    files.append(ENTRIES[2:4])
    (folder / "head.json").write_bytes(head)
    with (folder / "audit-000001.jsonl").open("ab") as file:
        file.write(b'{"seq":5,"at":"20')
    assert AuditFiles(folder).verify().faults == []
    AuditFiles(folder).append(ENTRIES[4:5])
    found = AuditFiles(folder).verify()
    assert (found.entries, found.faults) == (5, [])


class _CrashError(Exception):
    """Ends an append where a crash would."""


@pytest.mark.parametrize("at", ["_write_head", "_remove_dropped"])
def test_crash_anywhere_in_an_append_leaves_a_log_that_can_be_checked(tmp_path, at):
    """Also where the append began a file, or was about to delete the oldest one."""

    class Crashing(AuditFiles):
        calls = 0

        def crash(self, head):
            self.calls += 1
            if self.calls == (1 if at == "_write_head" else 2):  # the second call is behind the new head
                raise _CrashError

    setattr(Crashing, at, Crashing.crash)
    folder = tmp_path / "audit"
    sizes = {"file_bytes": 300, "files": 3}
    AuditFiles(folder, **sizes).append(ENTRIES[:1])
    seq = 1
    for number in range(30):
        with pytest.raises(_CrashError):
            Crashing(folder, **sizes).append(ENTRIES[:1])
        assert AuditFiles(folder).verify().faults == [], number
        AuditFiles(folder, **sizes).append(ENTRIES[: 1 + number % 3])
        seq += 2 + number % 3
        assert AuditFiles(folder).verify().faults == [], number
        assert AuditFiles(folder).newest(limit=1)[0]["seq"] == seq, "whole lines are kept"
    assert len(list(folder.glob("audit-*"))) == 3


def test_log_whose_head_was_removed_takes_no_entry(written, tmp_path):
    """A new head would hide what was cut."""
    shutil.copytree(written, tmp_path / "headless")
    (tmp_path / "headless" / "head.json").unlink()
    with pytest.raises(CorruptStoreError, match="missing"):
        AuditFiles(tmp_path / "headless").append(ENTRIES[:1])


_ENDLESS = """
import sys
from pathlib import Path
from super_advanced_agents.tenancy.data_folder.audit_files import AuditFiles

files = AuditFiles(Path(sys.argv[1]), file_bytes=400, files=3)
while True:
    files.append([{"tenant": "a", "operation": "op"}])
    print(files.newest(limit=1)[0]["seq"], flush=True)
"""


def test_killed_writer_leaves_a_log_with_all_that_it_acknowledged(tmp_path):
    """Six times over, at another moment each."""
    folder, acknowledged = tmp_path / "audit", 0
    for number in range(6):
        command = [sys.executable, "-c", _ENDLESS, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(5 + 3 * number):
                acknowledged = int(process.stdout.readline())
            process.kill()
        found = AuditFiles(folder).verify()
        assert found.faults == []
        assert AuditFiles(folder).newest(limit=1)[0]["seq"] >= acknowledged


def test_writing_after_a_cut_does_not_hide_it(written, tmp_path):
    """What follows goes to another file."""
    folder = tmp_path / "cut"
    files = AuditFiles(folder)
    files.append(ENTRIES[:4])
    path = folder / "audit-000001.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    files.append(ENTRIES[4:6])
    assert AuditFiles(folder).verify().faults


def test_oldest_files_are_dropped_and_the_rest_stays_valid(tmp_path):
    """The log is bounded; what is kept is still a chain."""
    files = AuditFiles(tmp_path / "audit", file_bytes=300, files=2)
    for entry in ENTRIES:
        files.append([entry])
    found = files.verify()
    assert found.faults == []
    assert 0 < found.entries < len(ENTRIES)
    assert len(list((tmp_path / "audit").glob("audit-*"))) == 2
    assert files.newest(limit=1)[0]["seq"] == len(ENTRIES)


def test_newest_entries_are_those_of_one_tenant_in_pages(written):
    """A page ends where the next one begins."""
    files = AuditFiles(written)
    first = files.newest(tenant="a", limit=4)
    assert [entry["operation"] for entry in first] == ["op5", "op4", "op3", "op2"]
    rest = files.newest(tenant="a", before=first[-1]["hash"], limit=4)
    assert [entry["operation"] for entry in rest] == ["op1", "op0"]
    assert {entry["tenant"] for entry in (*first, *rest)} == {"a"}
    assert files.newest(tenant="a", before="0" * 64) == []


_APPENDING = """
import sys
from pathlib import Path
from super_advanced_agents.tenancy.data_folder.audit_files import AuditFiles

files = AuditFiles(Path(sys.argv[1]))
for number in range(20):
    files.append([{"tenant": sys.argv[2], "operation": str(number)}])
"""


def test_several_processes_append_to_one_chain(tmp_path):
    """Commands write beside a running server."""
    folder = tmp_path / "audit"
    processes = [subprocess.Popen([sys.executable, "-c", _APPENDING, str(folder), name]) for name in ("a", "b")]
    assert [process.wait(60) for process in processes] == [0, 0]
    found = AuditFiles(folder).verify()
    assert (found.entries, found.faults) == (40, [])
    assert found.head != GENESIS


def test_files_are_for_their_owner_alone(written):
    """They name who did what."""
    assert {oct(path.stat().st_mode & 0o777) for path in written.iterdir()} == {"0o600"}
    assert oct(written.stat().st_mode & 0o777) == "0o700"


def test_nothing_is_appended_to_a_log_that_was_removed_meanwhile(tmp_path):
    """What was acknowledged would be missing, and the new chain would be whole; another process may begin anew."""
    folder = tmp_path / "audit"
    files = AuditFiles(folder)
    files.append(ENTRIES)
    shutil.rmtree(folder)
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match="12 entries of the audit log were removed"):
            files.append(ENTRIES)
    AuditFiles(folder).append(ENTRIES[:1])
    assert files.verify().entries == 1
