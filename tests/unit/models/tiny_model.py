"""Define a model of two small files, its wheel, and a program that pulls it in its own process."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.models import HubSource, ModelFile, ModelSpec, PullProgress, WheelSource, pull, registry

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENTS = {"weights.bin": bytes(range(256)) * 4096, "words.json": b'{"words": 3}'}
SPEC = ModelSpec(
    name="tiny",
    kind="generation",
    licence="MIT",
    files=tuple(
        ModelFile(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in CONTENTS.items()
    ),
    sources=(
        WheelSource(distribution="tiny-model", version="1.0", members={n: f"tiny_model/{n}" for n in CONTENTS}),
        HubSource(repo="someone/tiny", revision=REVISION, paths={n: n for n in CONTENTS}),
    ),
)
HUB_SPEC = replace(SPEC, sources=SPEC.sources[1:])


def write_wheel(index: Path, contents: dict[str, bytes]) -> Path:
    """Write the wheel `tiny-model` 1.0 with these contents into a folder that pip searches."""
    index.mkdir(exist_ok=True)
    path = index / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"tiny_model/{name}", content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def start_pull(models_dir: Path, env: dict[str, str], *, spec: str = "all", kill_at: int = 0) -> subprocess.Popen[str]:
    """Start a process that pulls the model; it kills itself at the `kill_at`-th progress report, unless that is 0."""
    command = [sys.executable, __file__, str(models_dir), spec, str(kill_at)]
    return subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a process of `start_pull`, and return its `error`, `message` and `steps`."""
    output, _ = process.communicate()
    assert process.returncode == 0, process.returncode
    result: dict[str, Any] = json.loads(output)
    return result


def main(models_dir: str, spec: str, kill_at: str) -> None:
    """Pull the model, and print the outcome as JSON."""
    if os.environ.get("TINY_FILE_LIMIT"):
        import resource

        limit = int(os.environ["TINY_FILE_LIMIT"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    registry.MODELS = {"tiny": HUB_SPEC if spec == "hub" else SPEC}
    steps: list[str] = []

    def on_progress(progress: PullProgress) -> None:
        steps.append(progress.step)
        if len(steps) == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    error = message = ""
    try:
        pull("tiny", models_dir=models_dir, on_progress=on_progress)
    except SuperAdvancedAgentsError as exc:
        error, message = type(exc).__name__, str(exc)
    print(json.dumps({"error": error, "message": message, "steps": list(dict.fromkeys(steps))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
