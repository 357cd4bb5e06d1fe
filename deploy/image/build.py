"""Build the Dockerfile and try the image where no Docker engine runs: `make image`.

`buildah` builds over a root that `debootstrap` makes, with chroot isolation. The image is then started as a container
would be: its own user, a read-only root, tmpfs at /tmp, volumes at /data and /models. A memory is stored and found, and
SIGTERM stops the server. What this does not cover stands in docs/deploy/docker.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/super-advanced-agents:latest"
BASE = "localhost/saa-base:latest"
SUITE = "bookworm"
LIMIT_MB = 450
UID = "10001"
STORAGE = {"STORAGE_DRIVER": "vfs"}
NOT_AT_RUN = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)
"""What the small images of Debian leave out too."""


def main() -> None:
    """Build, measure and try the image."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".image", help="what is kept between builds")
    parser.add_argument("--models", type=Path, help="the volume /models; the user's folder of models if not given")
    parser.add_argument("--step", choices=["build", "try"], help="only one of the two")
    arguments = parser.parse_args()
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(
            f"this needs root and {' and '.join(missing or ['nothing else'])}: apt-get install {' '.join(missing)}"
        )
    arguments.cache.mkdir(exist_ok=True)
    if arguments.step != "try":
        build(arguments.cache)
    if arguments.step != "build":
        from super_advanced_agents.models.folder import default_models_dir

        try_image(arguments.cache, (arguments.models or default_models_dir()).resolve())


def build(cache: Path) -> None:
    """Build the image's default target, over a base of Debian with Python."""
    wheels = cache / "wheels"
    requirements = ROOT / "requirements" / "image.txt"
    policy = cache / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}), encoding="utf-8")
    make_base(cache, policy)
    print("fetching the locked wheels", flush=True)
    text = requirements.read_text(encoding="utf-8")
    every = cache / "requirements.txt"  # the base's Python may be an older 3.11 than the one that fetches
    every.write_text(re.sub(r" ; python_full_version < '3\.11\.\d+'", "", text), encoding="utf-8")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "-r", every, "-d", wheels)
    started = time.monotonic()
    run(
        *("buildah", "bud", "--isolation", "chroot", "--pull-never", "--signature-policy", policy),
        *("--build-arg", f"BASE={BASE}", "--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels"),
        *("--volume", f"{wheels}:/wheels:ro", "--format", "docker", "--layers", "--tag", IMAGE, ROOT),
    )
    print(f"built {IMAGE} in {time.monotonic() - started:.0f} s", flush=True)


def make_base(cache: Path, policy: Path) -> None:
    """Make the image that stands for `python:*-slim`, unless it was made before."""
    if (
        subprocess.run(
            ["buildah", "inspect", "--type", "image", BASE], env=environment(), capture_output=True
        ).returncode
        == 0
    ):
        return
    root = cache / "root"
    shutil.rmtree(root, ignore_errors=True)
    print(f"making a root of Debian {SUITE}", flush=True)
    run("debootstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv", SUITE, root)
    for folder in NOT_AT_RUN:
        for entry in (root / folder).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (root / "etc/apt/sources.list").unlink()
    shutil.copytree("/etc/apt", root / "etc/apt", dirs_exist_ok=True)  # where this machine has its packages from
    container = output("buildah", "--signature-policy", policy, "from", "scratch")
    run("buildah", "copy", "--quiet", container, root, "/")
    run("buildah", "--signature-policy", policy, "commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(root)


def try_image(cache: Path, models: Path) -> None:
    """Start the image as a container would be started, use it, and stop it by SIGTERM."""
    container = output("buildah", "--signature-policy", cache / "policy.json", "from", "--pull-never", IMAGE)
    try:
        root = Path(output("buildah", "mount", container))
        config = json.loads(output("buildah", "inspect", "--type", "image", IMAGE))["Docker"]["config"]
        assert config["User"] == f"{UID}:{UID}", config["User"]
        assert config["Healthcheck"]["Test"] == ["CMD", "healthcheck"], config["Healthcheck"]
        size_mb = sum(f.lstat().st_size for f in root.rglob("*") if f.is_file() and not f.is_symlink()) / 1e6
        print(f"the image has {size_mb:.0f} MB without models (limit {LIMIT_MB})", flush=True)
        assert size_mb <= LIMIT_MB
        data = cache / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        os.chown(data, int(UID), int(UID))
        variables = dict(variable.split("=", 1) for variable in config["Env"])
        box = Box(root, data, models, {**variables, "SAA_PORT": "18080", "SAA_GRPC_PORT": "18081"})
        use(box, config)
    finally:
        output("buildah", "rm", container)


class Box:
    """A mount namespace with the image's root, read-only, and its volumes: what a container engine would make."""

    def __init__(self, root: Path, data: Path, models: Path, variables: dict[str, str]) -> None:
        self._root = root
        self._variables = variables
        mounts = [
            f"mount --bind {root} {root}",
            f"mount --bind {data} {root}/data",
            f"mount --bind {models} {root}/models",
            f"mount -o remount,ro,bind {root}/models",
            f"mount -t tmpfs -o size=64m tmpfs {root}/tmp",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -o remount,ro,bind {root}",
        ]
        self._prefix = " && ".join(mounts)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs some words inside."""
        quoted = " ".join(f"'{word}'" for word in words)
        inside = f"exec chroot --userspec={UID}:{UID} {self._root} {quoted}"
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f"{self._prefix} && {inside}"]

    def run(self, *words: str) -> str:
        """Run a command inside to its end, and return what it printed."""
        done = subprocess.run(self.command(*words), env=self._variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command inside."""
        return subprocess.Popen(self.command(*words), env=self._variables)


def use(box: Box, config: dict[str, list[str]]) -> None:
    """Make a key, start the server, ask it, and stop it."""
    key = box.run(*config["Entrypoint"], "keys", "create", "--scope", "admin").strip()
    began = time.monotonic()
    server = box.start(*config["Entrypoint"], *config["Cmd"])
    try:
        wait_for(lambda: call("/healthz")["status"] == "ok", server)
        print(f"/healthz answered after {time.monotonic() - began:.1f} s", flush=True)
        wait_for(lambda: bool(call("/readyz")["ready"]), server)
        print(f"/readyz answered after {time.monotonic() - began:.1f} s", flush=True)
        box.run("healthcheck")
        call("/v1/agents/default/memories", key, {"text": "The pump in hall 3 was replaced in May."})
        found = call("/search", key, {"query": "When was the pump replaced?"})
        assert "hall 3" in json.dumps(found), found
        refused = subprocess.run(
            box.command("sh", "-c", "touch /opt/saa/x /models/x 2>/dev/null"), capture_output=True, check=False
        )
        assert refused.returncode != 0, "the root file system or the models can be written"
    except BaseException:
        server.kill()
        raise
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0, server.returncode
    print(f"SIGTERM stopped it after {time.monotonic() - began:.1f} s; stored, found and stopped", flush=True)


def call(path: str, key: str | None = None, body: dict[str, str] | None = None) -> dict[str, object]:
    """Ask the server, and return its answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:18080{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        result: dict[str, object] = json.load(answer)
    return result


def wait_for(condition: Callable[[], bool], server: subprocess.Popen[bytes], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:  # it does not listen yet, or is not ready
            pass
        time.sleep(0.1)
    raise AssertionError("the server has ended" if server.poll() is not None else "the server does not answer")


def environment() -> dict[str, str]:
    """Return the environment of buildah."""
    return {**os.environ, **STORAGE}


def run(*words: object) -> None:
    """Run a command, and stop with its error."""
    done = subprocess.run([str(word) for word in words], env=environment(), check=False)
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed with {done.returncode}")


def output(*words: object) -> str:
    """Run a command and return its output."""
    done = subprocess.run(
        [str(word) for word in words], env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
