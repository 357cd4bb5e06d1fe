"""Keys that are damaged, removed or replaced beside a running server: revocations count, or nobody is let in."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from super_advanced_agents.errors import AuthenticationError, EngineUnavailableError, SuperAdvancedAgentsError
from super_advanced_agents.server.auth.api_keys import APIKeyVerifier
from super_advanced_agents.server.auth.key_store import KeyTable, NewKey, signature_of

READER = ["memories:read"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the key database."""
    return tmp_path / "server"


@pytest.fixture
def key(folder: Path) -> NewKey:
    """Create a key, as `saa keys create` does."""
    with closing(KeyTable(folder)) as table:
        return table.create(tenant="acme", scopes=READER)


@pytest.fixture
def verifier(key: NewKey, folder: Path) -> Iterator[APIKeyVerifier]:
    """Open a verifier that has read the key, as `saa serve` does."""
    with APIKeyVerifier(folder) as opened:
        opened.open()
        assert opened.principal_of(key.key).tenant == "acme"
        yield opened


def test_reading_keys_changes_none_of_their_files(key: NewKey, folder: Path) -> None:
    """A change would be taken for one of the keys; the next start takes the rights of others away."""
    files = [folder / "keys.db", folder / "secret"]
    for file in files:
        file.chmod(0o640)
    signature = signature_of(folder)
    with closing(KeyTable(folder, create=False)) as table:
        table.check()
        assert [record.id for record in table.records()] == [key.id]
    assert signature_of(folder) == signature
    KeyTable(folder).close()
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


def _refusal(verifier: APIKeyVerifier, key: NewKey) -> SuperAdvancedAgentsError | None:
    try:
        verifier.principal_of(key.key)
    except SuperAdvancedAgentsError as exc:
        return exc
    return None


def _wait_for_refusal(verifier: APIKeyVerifier, key: NewKey) -> SuperAdvancedAgentsError:
    """Wait until the key is refused; `pytest-timeout` ends a test in which it never is."""
    pause = threading.Event()
    while (error := _refusal(verifier, key)) is None:
        pause.wait(0.01)
    return error


def _remove(folder: Path) -> None:
    for file in folder.glob("keys.db*"):
        file.unlink()


def _overwrite(folder: Path) -> None:
    (folder / "keys.db").write_bytes(os.urandom((folder / "keys.db").stat().st_size))


def _empty(folder: Path) -> None:
    os.truncate(folder / "keys.db", 0)


def _replace_secret(folder: Path) -> None:
    (folder / "secret").write_bytes(os.urandom(32))


def _remove_secret(folder: Path) -> None:
    (folder / "secret").unlink()


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize("harm", [_remove, _overwrite, _empty, _replace_secret, _remove_secret, _move])
def test_nobody_is_let_in_while_the_keys_cannot_be_read(
    verifier: APIKeyVerifier,
    key: NewKey,
    folder: Path,
    tmp_path: Path,
    harm: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One log line says why; the keys count again when the files are back, and nothing was created meanwhile."""
    shutil.copytree(folder, tmp_path / "saved")
    harm(folder)
    error = _wait_for_refusal(verifier, key)
    assert isinstance(error, EngineUnavailableError)
    assert str(folder) not in str(error)
    lines = [record for record in caplog.records if record.getMessage() == "server.keys_not_read"]
    assert [record.levelno for record in lines] == [logging.ERROR]
    assert "reason" in lines[0].__dict__
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tmp_path / "saved", folder)
    pause = threading.Event()
    while _refusal(verifier, key) is not None:
        pause.wait(0.01)


def test_revocation_in_a_database_that_replaced_another_counts(
    verifier: APIKeyVerifier, key: NewKey, folder: Path
) -> None:
    """The verifier reads what the path leads to, as `saa keys revoke` does."""
    shutil.copy(folder / "keys.db", folder / "copy")
    (folder / "copy").rename(folder / "keys.db")
    with closing(KeyTable(folder)) as table:
        assert table.revoke(key.id)
    error = _wait_for_refusal(verifier, key)
    assert isinstance(error, AuthenticationError)
    assert "was revoked" in str(error)


def test_revocation_is_not_reported_when_its_database_is_removed_meanwhile(key: NewKey, folder: Path) -> None:
    """`saa keys revoke` exits with an error then."""
    with closing(KeyTable(folder)) as table:
        (folder / "keys.db").unlink()
        with pytest.raises(SuperAdvancedAgentsError, match=r"keys\.db' was removed"):
            table.revoke(key.id)


def test_expired_key_stays_expired_when_the_clock_is_set_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the running server nor in the next one."""
    with closing(KeyTable(folder)) as table:
        short = table.create(tenant="acme", scopes=READER, expires_in_s=3_600)
    real = time.time
    with APIKeyVerifier(folder) as verifier:
        verifier.open()
        assert _refusal(verifier, short) is None
        monkeypatch.setattr(time, "time", lambda: real() + 7_200)
        assert "has expired" in str(_refusal(verifier, short))
        monkeypatch.setattr(time, "time", lambda: real() - 7_200)
        assert "has expired" in str(_refusal(verifier, short))
        _wait_until_saved(folder)
    with APIKeyVerifier(folder) as restarted:
        restarted.open()
        assert "has expired" in str(_refusal(restarted, short))
    with closing(KeyTable(folder)) as table:
        assert [record.state for record in table.records()] == ["expired"]
        later = table.create(tenant="acme", scopes=READER, expires_in_s=3_600)
        assert [record.state for record in table.records() if record.id == later.id] == ["valid"]


def _wait_until_saved(folder: Path) -> None:
    pause = threading.Event()
    while True:
        with closing(KeyTable(folder)) as table:
            if table.clock_saved_at:
                return
        pause.wait(0.05)
