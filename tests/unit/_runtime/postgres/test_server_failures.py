"""Tests of logins that a PostgreSQL server refuses, of its crash and restart, and of a standby."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import psycopg
import pytest
from tests.postgres import PostgresServer, running_server

from super_advanced_agents._runtime.postgres import Connection, Database, PostgresAddress
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError

SECRET = "s3cret-of-nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Return a server of its own, which asks for a password over TCP."""
    with running_server({"fsync": "off"}) as found:
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all trust\n"
        (found.data / "pg_hba.conf").write_text(rules, encoding="utf-8")
        with psycopg.connect(found.url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE ann LOGIN PASSWORD '{SECRET}'".encode())
            admin.execute("SELECT pg_reload_conf()")
        yield found


async def _one(connection: Connection) -> int:
    row = await (await connection.execute("SELECT 1")).fetchone()
    assert row is not None
    return int(row[0])


async def _read(url: str) -> int:
    database = Database(PostgresAddress.parse(url))
    try:
        return await database.read(_one)
    finally:
        await asyncio.to_thread(database.close)


@pytest.mark.parametrize("password", [f"wrong-{SECRET}", None])
async def test_wrong_password_is_one_sentence_without_it(server: PostgresServer, password: str | None) -> None:
    """It names the database and where to correct the password."""
    login = "ann" if password is None else f"ann:{password}"
    with pytest.raises(ConfigurationError, match=r"refused the password.*SAA_STORE") as caught:
        await _read(f"postgresql://{login}@127.0.0.1:{server.port}/postgres?passfile=/dev/null")
    assert SECRET not in str(caught.value)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert SECRET not in f"{chain} {chain!r}"
        chain = chain.__cause__


async def test_password_of_a_file_is_used(server: PostgresServer, tmp_path: object) -> None:
    """As in `~/.pgpass`; the URL then holds no secret."""
    file = f"{tmp_path}/passwords"
    with open(file, "w", encoding="utf-8", opener=_private) as passwords:  # noqa: ASYNC230  # a line
        passwords.write(f"127.0.0.1:{server.port}:postgres:ann:{SECRET}\n")
    assert await _read(f"postgresql://ann@127.0.0.1:{server.port}/postgres?passfile={file}") == 1


def _private(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)


async def _read_until(database: Database, deadline: float) -> None:
    while time.monotonic() < deadline:
        await database.read(_one)


async def test_calls_fail_typed_while_the_server_is_killed_and_heal_after_its_start(server: PostgresServer) -> None:
    """The same object works again without being opened anew."""
    database = Database(PostgresAddress.parse(server.url))
    assert await database.read(_one) == 1
    await asyncio.to_thread(server.kill)
    deadline = time.monotonic() + 60
    with pytest.raises(EngineUnavailableError):
        await _read_until(database, deadline)
    await asyncio.to_thread(server.start)
    while True:
        assert time.monotonic() < deadline
        try:
            assert await database.read(_one) == 1
        except EngineUnavailableError:
            await asyncio.sleep(0.05)
        else:
            break
    await asyncio.to_thread(database.close)


async def test_standby_refuses_writes_until_it_is_promoted(server: PostgresServer) -> None:
    """A streaming copy serves reads; after its promotion it takes the write."""
    standby = await asyncio.to_thread(lambda: PostgresServer({"fsync": "off"}, copy_of=server))
    database = Database(PostgresAddress.parse(standby.url))

    async def create(connection: Connection) -> None:
        await connection.execute("CREATE TABLE public.of_standby (n integer)")

    try:
        await asyncio.to_thread(standby.start)
        assert await database.read(_one) == 1
        with pytest.raises(EngineUnavailableError, match="read-only standby"):
            await database.write(create)
        await asyncio.to_thread(standby.promote)
        await database.write(create)
    finally:
        await asyncio.to_thread(database.close)
        await asyncio.to_thread(standby.remove)
