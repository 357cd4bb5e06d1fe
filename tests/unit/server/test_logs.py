"""Test the log of a server: its two formats, and that a slow reader blocks nobody."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from super_advanced_agents.server import logs
from super_advanced_agents.telemetry import counter, request_id

ROOT = "super_advanced_agents"


@pytest.fixture
def configured():
    """Configure logging to a stream, and leave no handler behind."""
    writers = []
    levels = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in (ROOT, "uvicorn")}

    def configure(log_format, stream):
        writers.append(logs.configure_logging("INFO", log_format, stream=stream))
        return writers[-1]

    yield configure
    for name, (level, propagate) in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = propagate
        for writer in writers:
            logger.removeHandler(writer)
    for writer in writers:
        writer.close()


def test_json_line_has_the_event_its_fields_and_the_request(configured):
    """One object a line, whatever the fields hold."""
    stream = io.StringIO()
    writer = configured("json", stream)
    with request_id("r1"):
        logging.getLogger(f"{ROOT}.store").warning("store.tried", extra={"path": "a\nb", "other": object})
    writer.flush()
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert (line["event"], line["level"], line["path"], line["request_id"]) == ("store.tried", "WARNING", "a\nb", "r1")


def test_console_line_cannot_be_forged_by_a_field(configured):
    """An end of line within a value is escaped."""
    stream = io.StringIO()
    writer = configured("console", stream)
    logging.getLogger(f"{ROOT}.store").info("store.tried", extra={"path": "a\nforged"})
    writer.flush()
    assert stream.getvalue().count("\n") == 1


def test_error_is_written_with_its_traceback(configured):
    """In JSON it is a member of the line."""
    stream = io.StringIO()
    writer = configured("json", stream)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger(f"{ROOT}.store").exception("store.failed")
    writer.flush()
    assert "ValueError: no" in json.loads(stream.getvalue())["exception"]


class _StuckStream(io.StringIO):
    """A pipe that nobody reads until it is let go."""

    def __init__(self):
        super().__init__()
        self.stuck, self.go_on = threading.Event(), threading.Event()

    def write(self, text):
        self.stuck.set()
        assert self.go_on.wait(30)
        return super().write(text)


def test_reader_that_stops_reading_costs_lines_and_blocks_no_caller(configured):
    """What waits is bounded, and what does not fit is counted."""
    stream, dropped = _StuckStream(), counter("log_lines_dropped").value
    configured("console", stream)
    logger = logging.getLogger(f"{ROOT}.store")
    logger.info("first")
    assert stream.stuck.wait(30)
    for _ in range(logs._MAX_WAITING + 5):
        logger.info("more")
    assert counter("log_lines_dropped").value - dropped == 5
    stream.go_on.set()


def test_level_changes_in_steps_and_stops_at_the_ends(configured):
    """One step more shows DEBUG after INFO; errors are always shown."""
    configured("console", io.StringIO())
    assert [logs.change_level(more=True) for _ in range(2)] == ["DEBUG", "DEBUG"]
    assert [logs.change_level(more=False) for _ in range(4)] == ["INFO", "WARNING", "ERROR", "ERROR"]
