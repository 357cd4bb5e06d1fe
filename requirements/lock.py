"""Write or check the locked requirements: `lock.py compile --uv UV [--upgrade]`, `lock.py check`.

runtime.txt holds the packages that a user installs and what builds the project for that, image.txt adds the extras of
the container image, dev.txt those of tests and checks, bench.txt those of the benchmark's peers, milvus.txt the Milvus
server of the tests. They hold hashes and no host name: the index is a setting of the installing machine.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("requirements")
OPTIONS = [
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-emit-index-url", "--no-annotate", "--quiet"),
]
IMAGE_EXTRAS = ("encryption", "postgres", "traces", "valkey")
"""What a server needs beside other servers: the store, the shared state and the traces of a cluster."""
FILES = {
    "runtime.txt": ["pyproject.toml", "--group", "build"],
    "dev.txt": ["pyproject.toml", "--group", "dev", "-c", "requirements/runtime.txt"],
    "image.txt": [
        *("pyproject.toml", "--group", "build", *(part for extra in IMAGE_EXTRAS for part in ("--extra", extra))),
        *("-c", "requirements/runtime.txt", "-c", "requirements/dev.txt"),
    ],
    "bench.txt": [
        *("pyproject.toml", "--extra", "bench", "requirements/bench.in", "-c", "requirements/runtime.txt"),
        *("--overrides", "requirements/bench-overrides.txt", "--no-emit-package", "torch"),
    ],
    "milvus.txt": ["requirements/milvus.in"],
}
UNLOCKED = {"torch"}
"""Packages that the Makefile installs separately, for the reason given there."""


def compile_all(uv: str, extra: list[str]) -> None:
    """Resolve each file; pins that still fit stay unless `--upgrade` is among `extra`."""
    for name, inputs in FILES.items():
        target = FOLDER / name
        print(f"locking {target}", flush=True)
        subprocess.run([uv, "pip", "compile", *OPTIONS, *inputs, *extra, "-o", str(target)], cwd=ROOT, check=True)


def find_problems() -> list[str]:
    """Return the problems of the files: hosts, missing hashes, pins that do not fit pyproject.toml."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = {
        "runtime.txt": project["project"]["dependencies"] + project["dependency-groups"]["build"],
        "dev.txt": project["project"]["dependencies"] + project["dependency-groups"]["dev"],
        "image.txt": [
            *project["project"]["dependencies"],
            *project["dependency-groups"]["build"],
            *(need for extra in IMAGE_EXTRAS for need in project["project"]["optional-dependencies"][extra]),
        ],
        "bench.txt": project["project"]["dependencies"] + project["project"]["optional-dependencies"]["bench"],
        "milvus.txt": (ROOT / FOLDER / "milvus.in").read_text(encoding="utf-8").splitlines(),
    }
    problems: list[str] = []
    pins: dict[str, dict[str, set[str]]] = {}
    for name in FILES:
        text = (ROOT / FOLDER / name).read_text(encoding="utf-8")
        if "://" in text or re.search(r"^--", text, re.MULTILINE):
            problems.append(f"{name} names a host or an index option")
        entries = re.split(r"\n(?=\S)", text.replace("\\\n", "").strip())
        problems += [f"{name}: {entry.split()[0]} has no hash" for entry in entries if "--hash=sha256:" not in entry]
        pins[name] = {}
        for entry in entries:
            package, _, version = entry.split()[0].partition("==")
            pins[name].setdefault(canonicalize_name(package), set()).add(version)
        for need in map(Requirement, needs[name]):
            package = canonicalize_name(need.name)
            if package in UNLOCKED:
                continue
            versions = pins[name].get(package, set())
            if not versions or not all(need.specifier.contains(version, prereleases=True) for version in versions):
                problems.append(f"{name}: {need} is required, {sorted(versions) or 'nothing'} is locked")
    for name in ("image.txt", "dev.txt", "bench.txt"):
        problems += [
            f"{name} and runtime.txt lock {package} differently"
            for package, versions in pins["runtime.txt"].items()
            if pins[name].get(package) != versions
        ]
    problems += [f"{name} holds {package}" for name in FILES for package in UNLOCKED & pins[name].keys()]
    return problems


def main() -> None:
    """Compile the files, or exit with their problems."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=["compile", "check"])
    parser.add_argument("--uv", default="uv", help="the uv that resolves")
    arguments, extra = parser.parse_known_args()
    if arguments.command == "compile":
        compile_all(arguments.uv, extra)
    elif problems := find_problems():
        sys.exit("\n".join([*problems, "Run `make lock` to write the requirement files again."]))
    else:
        print(f"{len(FILES)} requirement files agree with pyproject.toml")


if __name__ == "__main__":
    main()
