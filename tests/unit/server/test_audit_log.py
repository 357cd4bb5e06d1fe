"""Test which requests are recorded, and what happens while the audit log cannot be written."""

from __future__ import annotations

import pytest

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import EngineUnavailableError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.telemetry import counter
from super_advanced_agents.tenancy.data_folder.audit_files import AUDIT_FOLDER

ENTRY = {"tenant": "a", "operation": "remember"}


@pytest.fixture
def data_dir(tmp_path):
    """Return a data folder in which the audit log cannot be written until the file is removed."""
    (tmp_path / AUDIT_FOLDER).write_text("a file where the folder should be")
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "covered"),
    [
        ("off", set()),
        ("changes", {"remember", "forget", "putAgent", "listMemories", "agentChat"}),
        ("all", {"remember", "forget", "putAgent", "listMemories", "agentChat", "search", "ask"}),
    ],
)
def test_mode_says_which_operations_are_recorded(tmp_path, mode, covered):
    """Probes and metrics never are; what can take everything out is a change."""
    tried = (
        ops.REMEMBER, ops.FORGET_ONE, ops.PUT_AGENT, ops.LIST_MEMORIES, ops.AGENT_CHAT, ops.DEFAULT_SEARCH, ops.ASK,
        ops.HEALTH, ops.METRICS,
    )  # fmt: skip
    with AuditLog(tmp_path, mode=mode) as log:
        assert {operation.name for operation in tried if log.covers(operation)} == covered


async def test_log_that_fails_open_drops_and_counts(data_dir):
    """Requests go on; an operator sees the count."""
    dropped = counter("audit_entries_dropped").value
    async with AuditLog(data_dir) as log:
        await log.arecord(ENTRY)
        log.check(ops.REMEMBER)
    assert counter("audit_entries_dropped").value == dropped + 1


async def test_log_that_fails_closed_refuses_until_it_can_be_written(data_dir):
    """The next request after a second tries again; reads that have no entry go on."""
    async with AuditLog(data_dir, fails_closed=True) as log:
        with pytest.raises(EngineUnavailableError):
            await log.arecord(ENTRY)
        with pytest.raises(EngineUnavailableError):
            log.check(ops.REMEMBER)
        log.check(ops.DEFAULT_SEARCH)
        await in_thread((data_dir / AUDIT_FOLDER).unlink, name="unlink")
        await log.arecord(ENTRY)
        log.check(ops.REMEMBER)
        assert (await in_thread(log.files.verify, name="verify")).entries == 1


async def test_entries_are_written_when_the_log_is_closed(tmp_path):
    """Closing drains the queue."""
    async with AuditLog(tmp_path) as log:
        for _ in range(300):
            await log.arecord(ENTRY)
    found = await in_thread(log.files.verify, name="verify")
    assert (found.entries, found.faults) == (300, [])
