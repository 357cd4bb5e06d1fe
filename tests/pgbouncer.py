"""A real pgbouncer for tests, which pools transactions: each may run in another session of the server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from tests.ports import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_SETTINGS = """[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
logfile = {folder}/log
"""


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Yield the URL of a pgbouncer with three sessions in front of the database of `url`, ended at the end."""
    assert PROGRAM is not None
    server = conninfo_to_dict(url)
    database = server.pop("dbname", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="saa-pgbouncer-", dir="/tmp"))
    port = free_port()
    known = {name: server[name] for name in ("host", "port", "user", "password") if name in server}
    settings = folder / "pgbouncer.ini"
    lines = _SETTINGS.format(server=" ".join(f"{k}={v}" for k, v in known.items()), port=port, folder=folder)
    settings.write_text(lines, encoding="utf-8")
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    if user is not None:
        for path in (folder, settings):
            shutil.chown(path, user)
    with subprocess.Popen([PROGRAM, "-q", str(settings)], user=user, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"postgresql://{quote(str(known.get('user', 'postgres')))}@127.0.0.1:{port}/{database}"
            _wait_for(address)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(url, connect_timeout=2):
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
