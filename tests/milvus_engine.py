"""Milvus servers for tests: real ones, from the wheel `milvus` in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

_ROOT = Path(__file__).resolve().parent.parent
_PYTHON = _ROOT / ".venv-milvus" / "bin" / "python"
_READY_S = 120.0
_supervisors: list[subprocess.Popen[bytes]] = []
"""Kept, as they outlive their objects."""
_urls: dict[Path, str] = {}


def shared_server(run_id: str) -> str:
    """Return the URL of the server that all processes of a test run share.

    The first one starts it.

    It ends by itself once all of them have ended, also when they were killed.
    """
    return _server(Path(tempfile.gettempdir()) / f"saa-milvus-{run_id}")


def own_server(*options: str) -> str:
    """Start a server with options of `milvus_server.py`, and return its URL.

    It ends with this process.
    """
    return _server(Path(tempfile.gettempdir()) / f"saa-milvus-{uuid4().hex}", *options)


def stop_own_server(url: str) -> None:
    """Stop a server of `own_server`, as a crash would."""
    [folder] = [folder for folder, known in _urls.items() if known == url]
    (folder / "clients" / str(os.getpid())).unlink()
    deadline = time.monotonic() + _READY_S
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def kill_own_server(url: str) -> None:
    """Kill a server of `own_server` with SIGKILL, and return once it was started again over its data."""
    [folder] = [folder for folder, known in _urls.items() if known == url]
    (folder / "kill").touch()
    deadline = time.monotonic() + _READY_S
    while (folder / "kill").exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Milvus server in {folder} did not start again")
        time.sleep(0.02)


def _server(folder: Path, *options: str) -> str:
    if not _PYTHON.exists():
        raise RuntimeError(f"{_PYTHON.parent.parent} is missing: run `make .venv-milvus/.installed`")
    command = [_ROOT / "tests" / "milvus_server.py", folder, *options]
    (folder / "clients").mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "clients" / str(os.getpid())).touch()
        if not (folder / "started").exists():
            supervisor = subprocess.Popen(
                [_PYTHON, *command],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _supervisors.append(supervisor)
            (folder / "started").write_text(str(supervisor.pid), encoding="utf-8")
    deadline = time.monotonic() + _READY_S
    while not (folder / "url").exists():
        if time.monotonic() > deadline or not folder.exists():
            raise RuntimeError(f"the Milvus server for tests did not start: run {_PYTHON} {command} by hand")
        time.sleep(0.05)
    _urls[folder] = (folder / "url").read_text(encoding="utf-8")
    return _urls[folder]
