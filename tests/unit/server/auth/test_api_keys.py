"""Test that API keys are stored as hashes, verified, and revoked beside a running server."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from super_advanced_agents.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    ResourceClosedError,
    StoreError,
)
from super_advanced_agents.server.auth.api_keys import APIKeyVerifier
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.key_source import FolderKeys
from super_advanced_agents.server.auth.key_store import KEY_PATTERN, KeyTable
from super_advanced_agents.server.auth.postgres_keys import PostgresKeys
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.shared_state import SharedState

READER = ["memories:read"]


def pytest_generate_tests(metafunc):
    """Run the tests that do not concern files with keys in PostgreSQL too."""
    if "source" in metafunc.fixturenames:
        kinds = ["folder"] if "folder" in metafunc.fixturenames else ["folder", "postgres"]
        metafunc.parametrize("source", kinds, indirect=True)


@pytest.fixture
def folder(tmp_path):
    """Return the folder of the key database."""
    return tmp_path / "data" / "server"


@pytest.fixture
def source(request, tmp_path):
    """Return where the keys are."""
    if request.param == "folder":
        yield FolderKeys(tmp_path / "data" / "server")
        return
    with SharedState(request.getfixturevalue("postgres_schema_url")) as state:
        yield PostgresKeys(state)


@pytest.fixture
def table(source):
    """Open a key table, as `saa keys` does."""
    opened = source.open_table(create=True)
    yield opened
    opened.close()


@pytest.fixture
def verifier(table, source):
    """Open a verifier, as `saa serve` does."""
    with APIKeyVerifier(source) as opened:
        opened.open()
        yield opened


def refusal_message(verifier, key):
    """Return the message with which the verifier refuses a key."""
    with pytest.raises(AuthenticationError) as caught:
        verifier.principal_of(key)
    assert key not in str(caught.value)
    return caught.value.message


def is_valid(verifier, key):
    """Return whether the keys that the verifier has in memory include a valid one."""
    try:
        verifier.principal_of(key)
    except AuthenticationError:
        return False
    return True


def wait_until(check):
    """Wait until another thread's change is visible; `pytest-timeout` ends a test in which it never is."""
    pause = threading.Event()
    while not check():
        pause.wait(0.01)


def test_api_key_is_random_and_not_stored_on_disk(table, folder):
    """A key is its id and 256 random bits, of which the database holds only a keyed hash."""
    new_key = table.create(tenant="acme", scopes=READER, label="reports")
    assert KEY_PATTERN.fullmatch(new_key.key)[1] == new_key.id
    assert table.create(tenant="acme", scopes=READER).key != new_key.key
    secret_part = new_key.key.split("_", 2)[2].encode()
    assert secret_part not in b"".join(file.read_bytes() for file in folder.iterdir())
    assert new_key.key not in repr(new_key)
    [record, _] = table.records()
    assert (record.tenant, record.scopes, record.label, record.state) == ("acme", {Access.READ}, "reports", "valid")


def test_key_files_are_readable_by_their_owner_only(table, folder):
    """The folder, the secret, the database and the files that SQLite puts beside it are private."""
    table.create(tenant="acme", scopes=READER)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {
        "secret": 0o600,
        "keys.db": 0o600,
        "keys.db-wal": 0o600,
        "keys.db-shm": 0o600,
    }


def test_key_table_removes_access_of_other_users_when_opened(table, folder):
    """Opening the files again restores their private modes."""
    folder.chmod(0o755)
    (folder / "secret").chmod(0o644)
    (folder / "keys.db").chmod(0o666)
    KeyTable(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("secret", "keys.db")} == {0o600}


def test_api_key_gives_its_tenant_and_its_scopes(table, verifier):
    """The principal has the id of the key, its tenant and its scopes."""
    new_key = table.create(tenant="acme", scopes=["memories:read", "generate"])
    wait_until(lambda: is_valid(verifier, new_key.key))
    principal = verifier.principal_of(new_key.key)
    assert (principal.tenant, principal.key_id) == ("acme", new_key.id)
    assert principal.scopes == {Access.READ, Access.GENERATE}
    assert principal.allows(Access.READ)
    assert not principal.allows(Access.WRITE)


def test_forged_or_malformed_api_key_is_refused_without_repeating_it(table, verifier):
    """A key with another key's id, a missing character or an extra one gets the same message."""
    new_key = table.create(tenant="acme", scopes=READER)
    wait_until(lambda: is_valid(verifier, new_key.key))
    verifier.principal_of(new_key.key)
    forged = new_key.key[:-1] + ("A" if new_key.key[-1] != "A" else "B")
    other_id = new_key.key.replace(new_key.id, "a" * 12)
    for wrong_key in (
        forged,
        other_id,
        new_key.key[:-1],
        new_key.key + "\n",
        new_key.key + "x",
        "saa_",
        "x",
        new_key.key.upper(),
    ):
        assert refusal_message(verifier, wrong_key) == "the API key is not valid"


def test_verifier_notices_keys_created_and_revoked_by_another_process(table, verifier, folder):
    """`saa keys` changes the keys this way while `saa serve` runs."""
    program = f"""
from pathlib import Path
from super_advanced_agents.server.auth.key_store import KeyTable
table = KeyTable(Path({str(folder)!r}))
print(table.create(tenant="acme", scopes=["admin"]).key, flush=True)
input()
table.revoke(table.records()[-1].id)
table.close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        key = process.stdout.readline().strip()
        wait_until(lambda: is_valid(verifier, key))
        assert verifier.principal_of(key).tenant == "acme"
        process.communicate("revoke\n")
    assert process.returncode == 0
    wait_until(lambda: not is_valid(verifier, key))
    assert "was revoked" in refusal_message(verifier, key)


async def test_new_api_key_is_accepted_by_all_its_first_concurrent_calls(table, folder):
    """A new key works before the verifier's next poll."""
    async with Authenticator(Settings(data_dir=folder.parent)) as authenticator:
        await authenticator.aopen()
        for _ in range(5):
            new_key = await asyncio.to_thread(table.create, tenant="acme", scopes=READER)
            calls = (authenticator.authenticate(authorization=None, api_key=new_key.key) for _ in range(50))
            assert {principal.key_id for principal in await asyncio.gather(*calls)} == {new_key.id}


@pytest.fixture
def statements(table, monkeypatch):
    """Collect the SQL statements of the databases that are opened after the table."""
    collected, connect = [], sqlite3.connect

    def traced_connect(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(collected.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced_connect)
    return collected


async def test_flood_of_unknown_key_ids_reads_the_database_a_bounded_number_of_times(table, folder, statements):
    """Beyond the bound, unknown ids are refused without a read, and so without waiting."""
    async with APIKeyVerifier(folder) as verifier:
        await verifier.aopen()
        statements.clear()
        key = (await asyncio.to_thread(table.create, tenant="acme", scopes=READER)).key
        for number in range(3_000):
            unknown = f"saa_{base64.b32encode(number.to_bytes(8)).decode().lower()[:12]}{key[16:]}"
            with pytest.raises(AuthenticationError, match="not valid"):
                await verifier.aprincipal_of(unknown)
        assert 0 < len(statements) < 300
        assert await verifier.aprincipal_of(key)


async def test_call_with_an_unknown_key_id_ends_when_the_verifier_is_closed(table, folder):
    """A call that waits for a refresh gets a result or an error; none waits forever."""
    verifier = APIKeyVerifier(folder)
    await verifier.aopen()
    new_key = await asyncio.to_thread(table.create, tenant="acme", scopes=READER)
    calls = [asyncio.ensure_future(verifier.aprincipal_of(new_key.key)) for _ in range(20)]
    await verifier.aclose()
    calls.append(asyncio.ensure_future(verifier.aprincipal_of(new_key.key)))
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, Principal | ResourceClosedError)


def test_key_database_is_polled_at_least_twice_a_second():
    """A change must count within a second, so the poll must come much more often."""
    # No public face shows the interval, and a measured one would depend on the load of the machine.
    from super_advanced_agents.server.auth.api_keys import _POLL_INTERVAL_S

    assert _POLL_INTERVAL_S <= 0.5


def test_expired_api_key_is_refused_without_a_refresh(table, verifier, monkeypatch):
    """Each call compares the expiry with the clock."""
    new_key = table.create(tenant="acme", scopes=READER, expires_in_s=60)
    wait_until(lambda: is_valid(verifier, new_key.key))
    verifier.principal_of(new_key.key)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert "has expired" in refusal_message(verifier, new_key.key)
    assert table.records()[0].state == "expired"


def test_revoking_a_key_again_keeps_its_first_revocation(table):
    """Revoking an unknown id returns False."""
    new_key = table.create(tenant="acme", scopes=READER)
    assert table.revoke(new_key.id)
    [first] = table.records()
    assert table.revoke(new_key.id)
    assert table.records() == [first]
    assert first.state == "revoked"
    assert not table.revoke("a" * 12)


async def test_first_api_key_is_created_once_and_is_valid_at_once(folder):
    """A second request for a first key returns None."""
    async with APIKeyVerifier(folder) as verifier:
        await verifier.aopen()
        new_key = await verifier.acreate_first(tenant="default", scopes=["admin"], label="first")
        assert verifier.principal_of(new_key.key).allows(Access.JOBS)
        assert await verifier.acreate_first(tenant="default", scopes=["admin"], label="first") is None


@pytest.mark.parametrize(
    "values",
    [
        {"tenant": "no name"},
        {"tenant": "../etc"},
        {"scopes": []},
        {"scopes": ["memories"]},
        {"label": "x" * 201},
        {"label": "line\nline"},
        {"expires_in_s": 0},
        {"expires_in_s": float("nan")},
    ],
)
def test_creating_a_key_with_invalid_values_stores_nothing(table, values):
    """Invalid tenants, scopes, labels and expiries raise InvalidInputError."""
    with pytest.raises(InvalidInputError):
        table.create(**{"tenant": "acme", "scopes": READER, **values})
    assert table.records() == []


def test_key_tables_opened_at_once_share_one_secret_and_one_database(folder):
    """All keys that they create are valid."""

    def create_key(n):
        table = KeyTable(folder)
        try:
            return table.create(tenant=f"tenant{n}", scopes=READER).key
        finally:
            table.close()

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(create_key, range(8)))
    with APIKeyVerifier(folder) as verifier:
        verifier.open()
        assert {verifier.principal_of(key).tenant for key in keys} == {f"tenant{n}" for n in range(8)}
    assert sorted(file.name for file in folder.iterdir()) == ["keys.db", "secret"]


def test_key_table_refuses_to_open_with_a_lost_or_damaged_secret(folder):
    """With a new secret every key would be refused for no visible reason."""
    KeyTable(folder).close()
    (folder / "secret").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="damaged"):
        KeyTable(folder)
    (folder / "secret").unlink()
    with pytest.raises(ConfigurationError, match="is missing"):
        KeyTable(folder)
    assert not (folder / "secret").exists()
    (folder / "secret").write_bytes(bytes(32))
    with pytest.raises(ConfigurationError, match="another secret"):
        KeyTable(folder)


def test_key_table_refuses_a_database_of_a_newer_version(folder):
    """The meaning of a newer schema is unknown."""
    KeyTable(folder).close()
    connection = sqlite3.connect(folder / "keys.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        KeyTable(folder)


def test_unreadable_key_database_raises_a_store_error(folder):
    """SQLite's error is mapped to one of this package."""
    folder.mkdir(parents=True)
    (folder / "secret").write_bytes(bytes(32))
    (folder / "keys.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        KeyTable(folder)
