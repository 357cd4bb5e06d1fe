"""SQLite files that several processes open at once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from super_advanced_agents._runtime.disk import sqlite

_SCHEMA = sqlite.Schema(version=1, application_id=7, tables="CREATE TABLE things (name TEXT) STRICT;\n")


def test_database_that_another_connection_creates_meanwhile_is_opened(tmp_path: Path) -> None:
    """Its tables may appear between the two readings that tell a new file from an old one."""
    file = tmp_path / "things.db"
    statements: list[str] = []

    def create_before_the_second(statement: str) -> None:
        statements.append(statement)
        if len(statements) == 2:
            sqlite.open_database(file, _SCHEMA).close()

    with closing(sqlite.connect(file)) as connection:
        connection.set_trace_callback(create_before_the_second)
        sqlite.prepare(connection, file, _SCHEMA)
        connection.set_trace_callback(None)
        assert len(statements) > 2
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
