"""API keys: made once, stored as hashes, honoured and revoked beside a running server."""

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
from super_advanced_agents.server.auth.key_store import KEY_PATTERN, KeyTable
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.settings import Settings

READER = ["memories:read"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "server"


@pytest.fixture
def table(folder):
    made = KeyTable(folder)
    yield made
    made.close()


@pytest.fixture
def ring(table, folder):
    with APIKeyVerifier(folder) as opened:
        opened.open()
        yield opened


def refused(ring, key):
    """Why the ring will not have it."""
    with pytest.raises(AuthenticationError) as caught:
        ring.principal_of(key)
    assert key not in str(caught.value)
    return caught.value.message


def eventually(check):
    """Wait for another thread to see what this one did; `pytest-timeout` ends it if it never does."""
    pause = threading.Event()
    while not check():
        pause.wait(0.01)


def test_a_key_is_random_and_is_nowhere_on_disk(table, folder):
    """Its id, then 256 bits of which only a keyed hash is kept."""
    made = table.create(tenant="acme", scopes=READER, label="reports")
    assert KEY_PATTERN.fullmatch(made.key)[1] == made.id
    assert table.create(tenant="acme", scopes=READER).key != made.key
    secret_part = made.key.rpartition("_")[2].encode()
    assert secret_part not in b"".join(file.read_bytes() for file in folder.iterdir())
    assert made.key not in repr(made)
    [record, _] = table.records()
    assert (record.tenant, record.scopes, record.label, record.state) == ("acme", {Access.READ}, "reports", "valid")


def test_only_this_user_may_read_any_of_it(table, folder):
    """The folder, the secret, the database and what SQLite puts beside it."""
    table.create(tenant="acme", scopes=READER)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {
        "secret": 0o600,
        "keys.db": 0o600,
        "keys.db-wal": 0o600,
        "keys.db-shm": 0o600,
    }


def test_rights_that_others_were_given_are_taken_away(table, folder):
    """When the files are opened the next time."""
    folder.chmod(0o755)
    (folder / "secret").chmod(0o644)
    (folder / "keys.db").chmod(0o666)
    KeyTable(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("secret", "keys.db")} == {0o600}


def test_a_key_opens_its_tenant_with_its_scopes(table, ring):
    """And is known by its id."""
    made = table.create(tenant="acme", scopes=["memories:read", "generate"])
    eventually(lambda: made.id in ring._cached)
    principal = ring.principal_of(made.key)
    assert (principal.tenant, principal.key_id) == ("acme", made.id)
    assert principal.scopes == {Access.READ, Access.GENERATE}
    assert principal.allows(Access.READ)
    assert not principal.allows(Access.WRITE)


def test_what_is_not_a_key_is_refused_without_being_repeated(table, ring):
    """Also one with the id of another, one that was cut, and one with something after it."""
    made = table.create(tenant="acme", scopes=READER)
    eventually(lambda: made.id in ring._cached)
    ring.principal_of(made.key)
    forged = made.key[:-1] + ("A" if made.key[-1] != "A" else "B")
    other_id = made.key.replace(made.id, "a" * 12)
    for wrong in (forged, other_id, made.key[:-1], made.key + "\n", made.key + "x", "saa_", "x", made.key.upper()):
        assert refused(ring, wrong) == "the API key is not valid"


def test_another_process_makes_and_revokes_keys_of_a_running_server(table, ring, folder):
    """As `saa keys` does beside `saa serve`."""
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
        eventually(lambda: KEY_PATTERN.fullmatch(key)[1] in ring._cached)
        assert ring.principal_of(key).tenant == "acme"
        process.communicate("go on\n")
    assert process.returncode == 0
    eventually(lambda: ring._cached[KEY_PATTERN.fullmatch(key)[1]].revoked)
    assert "was revoked" in refused(ring, key)


async def test_new_key_is_honoured_at_once_by_all_its_first_calls(table, folder):
    """Whoever made it need not wait until the server has looked for changes."""
    async with Authenticator(Settings(data_dir=folder.parent)) as authenticator:
        await authenticator.aopen()
        for _ in range(5):
            made = await asyncio.to_thread(table.create, tenant="acme", scopes=READER)
            calls = (authenticator.authenticate(authorization=None, api_key=made.key) for _ in range(50))
            assert {principal.key_id for principal in await asyncio.gather(*calls)} == {made.id}


async def test_flood_of_unknown_ids_reads_the_keys_a_bounded_number_of_times(table, ring):
    """Past that they are refused without a look, and so without waiting."""
    reads = []
    ring._table._connection.set_trace_callback(reads.append)
    made = (await asyncio.to_thread(table.create, tenant="acme", scopes=READER)).key
    for number in range(3_000):
        unknown = f"saa_{base64.b32encode(number.to_bytes(8)).decode().lower()[:12]}{made[16:]}"
        with pytest.raises(AuthenticationError, match="not valid"):
            await ring.aprincipal_of(unknown)
    assert 0 < len(reads) < 300
    assert await ring.aprincipal_of(made)


async def test_call_with_an_unknown_id_ends_when_the_keys_are_closed(table, folder):
    """Nobody waits for a look that will not come."""
    ring = APIKeyVerifier(folder)
    await ring.aopen()
    made = await asyncio.to_thread(table.create, tenant="acme", scopes=READER)
    calls = [asyncio.ensure_future(ring.aprincipal_of(made.key)) for _ in range(20)]
    await ring.aclose()
    calls.append(asyncio.ensure_future(ring.aprincipal_of(made.key)))
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, Principal | ResourceClosedError)


def test_changes_are_looked_for_often_enough():
    """A change is honoured within a second, so it is looked for much more often."""
    from super_advanced_agents.server.auth import api_keys as keys

    assert keys._POLL_INTERVAL_S <= 0.5


def test_a_key_is_worthless_once_it_has_expired(table, ring, monkeypatch):
    """By the clock, whether or not anybody has looked at the files since."""
    made = table.create(tenant="acme", scopes=READER, expires_in_s=60)
    eventually(lambda: made.id in ring._cached)
    ring.principal_of(made.key)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert "has expired" in refused(ring, made.key)
    assert table.records()[0].state == "expired"


def test_revoking_is_for_good_and_may_be_repeated(table):
    """The first moment stays; an unknown id is told."""
    made = table.create(tenant="acme", scopes=READER)
    assert table.revoke(made.id)
    [first] = table.records()
    assert table.revoke(made.id)
    assert table.records() == [first]
    assert first.state == "revoked"
    assert not table.revoke("a" * 12)


async def test_the_first_key_is_made_once_and_counts_at_once(folder):
    """Also when two ask at the same time; a revoked one still counts as the first."""
    async with APIKeyVerifier(folder) as ring:
        await ring.aopen()
        made = await ring.acreate_first(tenant="default", scopes=["admin"], label="first")
        assert ring.principal_of(made.key).allows(Access.JOBS)
        assert await ring.acreate_first(tenant="default", scopes=["admin"], label="first") is None


@pytest.mark.parametrize(
    "given",
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
def test_a_key_that_would_make_no_sense_is_not_made(table, given):
    """Nothing is stored."""
    with pytest.raises(InvalidInputError):
        table.create(**{"tenant": "acme", "scopes": READER, **given})
    assert table.records() == []


def test_several_processes_may_make_the_secret_and_the_keys_at_once(folder):
    """There is one secret and one table in the end, and all keys count."""

    def work(n):
        table = KeyTable(folder)
        try:
            return table.create(tenant=f"tenant{n}", scopes=READER).key
        finally:
            table.close()

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(work, range(8)))
    with APIKeyVerifier(folder) as ring:
        ring.open()
        assert {ring.principal_of(key).tenant for key in keys} == {f"tenant{n}" for n in range(8)}
    assert sorted(file.name for file in folder.iterdir()) == ["keys.db", "secret"]


def test_a_secret_that_was_lost_or_damaged_is_told(folder):
    """Not passed over: every key would be refused, and nobody would know why."""
    KeyTable(folder).close()
    (folder / "secret").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="damaged"):
        KeyTable(folder)
    (folder / "secret").unlink()
    with pytest.raises(ConfigurationError, match="another secret"):
        KeyTable(folder)


def test_keys_of_a_newer_version_are_left_alone(folder):
    """Nothing is guessed about them."""
    KeyTable(folder).close()
    connection = sqlite3.connect(folder / "keys.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        KeyTable(folder)


def test_keys_that_cannot_be_read_are_told(folder):
    """As an error of the tree."""
    folder.mkdir(parents=True)
    (folder / "keys.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        KeyTable(folder)
