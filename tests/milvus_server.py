"""Run a Milvus server until no process of a test run is left: `milvus_server.py FOLDER`.

It runs under the Python of `.venv-milvus`, which has the wheel `milvus` and nothing else. Each test process puts a file
named by its process id into FOLDER/clients; the server's URL is written to FOLDER/url. Tests that are killed leave
nothing running: their process ids end, and so does this. A file FOLDER/kill has the server killed and started again
over its data; it is removed once the server answers.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import milvus

_READY_S = 120.0
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def _unpack_once(packed: Path) -> Path:
    # The programs take 240 MB and ten seconds; they stay beside the environment that they came with.
    folder = Path(sys.prefix) / "milvus"
    if not (folder / "ready").exists():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        milvus._initialize_data_files(folder)
        (folder / "ready").touch()
    assert packed.is_dir()
    return folder / "bin"


def _free_port(config: milvus.MilvusServerConfig, start: int) -> int:
    port, listening = config.resolve_port(start)
    listening.close()
    return int(port)


def _place_etcd(folder: Path, config: milvus.MilvusServerConfig, peers: int) -> None:
    # Without a file of its own the embedded etcd listens on ports 2379 and 2380, which a second server cannot have.
    urls = {"client": f"http://127.0.0.1:{config.get('etcd_port')}", "peer": f"http://127.0.0.1:{peers}"}
    settings = folder / "etcd.yaml"
    settings.write_text(
        f"name: default\ndata-dir: {folder / 'server' / 'etcd'}\nlog-level: error\n"
        + "".join(
            f"listen-{kind}-urls: {url}\n{advertised}-urls: {url}\n"
            for (kind, url), advertised in zip(
                urls.items(), ("advertise-client", "initial-advertise-peer"), strict=True
            )
        )
        + f"initial-cluster: default={urls['peer']}\n",
        encoding="utf-8",
    )
    written = folder / "server" / "configs" / "milvus.yaml"
    text = written.read_text(encoding="utf-8").replace("\netcd:\n", f"\netcd:\n  config:\n    path: {settings}\n", 1)
    written.write_text(text, encoding="utf-8")


def _configure(folder: Path, *, authorization: bool) -> tuple[str, str]:
    config = milvus.MilvusServerConfig(data_dir=str(folder / "server"))
    # A write is visible after a tick: 200 ms by default.
    config.set("proxy.timeTickInterval", 20)
    config.set("log.level", "error")
    config.set("authorization_enabled", authorization)
    start = 20_000 + os.getpid() % 12_000  # servers that start at once look for free ports at different places
    for at, name in enumerate(sorted(key for key in config.configurable_items if key.endswith("_port"))):
        config.configurable_items[name][1] = start + 20 * at
    config.resolve()
    health, peers = (_free_port(config, start + 500 + 20 * at) for at in range(2))
    _place_etcd(folder, config, peers)
    return f"milvus://127.0.0.1:{config.get('proxy_port')}", f"http://127.0.0.1:{health}/healthz"


def _start(folder: Path, health: str) -> subprocess.Popen[bytes]:
    programs = _unpack_once(Path(milvus.__file__).parent / "data" / "bin")
    log = (folder / "log").open("ab")
    return subprocess.Popen(
        [programs / "milvus", "run", "standalone"],
        cwd=folder / "server",
        stdout=log,
        stderr=log,
        env={
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(urllib.parse.urlsplit(health).port),
            "MILVUS_RUN_DIR": str(folder / "server" / "run"),
            "LD_LIBRARY_PATH": str(programs),
        },
        preexec_fn=lambda: ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL),  # noqa: PLW1509  # no threads
    )


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health, timeout=5) as answer:
                if b"OK" in answer.read():
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(log.read_text(errors="replace")[-20_000:])


def _is_used(folder: Path) -> bool:
    return any(Path(f"/proc/{client.name}").exists() for client in (folder / "clients").iterdir())


def main() -> None:
    """Start the server, say where it is, and stop it when it is not used any more."""
    folder = Path(sys.argv[1])
    process = None
    try:
        url, health = _configure(folder, authorization="--authorization" in sys.argv)
        process = _start(folder, health)
        _wait(process, health, folder / "log")
        (folder / "url.new").write_text(url, encoding="utf-8")
        (folder / "url.new").replace(folder / "url")
        while process.poll() is None and _is_used(folder):
            if (folder / "kill").exists():
                process.kill()
                process.wait()
                process = _start(folder, health)
                _wait(process, health, folder / "log")
                (folder / "kill").unlink()
            time.sleep(0.2)
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
