"""Writes and checks the locked requirement files: `lock.py compile --uv UV [--upgrade]`, or `lock.py check`.

runtime.txt is what a user installs, dev.txt adds what tests and checks need, bench.txt what the benchmark's peers need.
They hold hashes and no host name: which index serves them is the installing machine's business.
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
FILES = {
    "runtime.txt": ["pyproject.toml"],
    "dev.txt": ["pyproject.toml", "--group", "dev", "-c", "requirements/runtime.txt"],
    "bench.txt": [
        *("pyproject.toml", "--extra", "bench", "requirements/bench.in", "-c", "requirements/runtime.txt"),
        *("--overrides", "requirements/bench-overrides.txt", "--no-emit-package", "torch"),
    ],
}
UNLOCKED = {"torch"}
"""Installed apart by the Makefile, which says why."""


def compile_all(uv: str, extra: list[str]) -> None:
    """Resolve each file; pins that still fit are kept unless `--upgrade` is among `extra`."""
    for name, inputs in FILES.items():
        target = FOLDER / name
        print(f"locking {target}", flush=True)
        subprocess.run([uv, "pip", "compile", *OPTIONS, *inputs, *extra, "-o", str(target)], cwd=ROOT, check=True)


def complaints() -> list[str]:
    """What is wrong with the files as they are: hosts, missing hashes, pins that do not fit pyproject.toml."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = {
        "runtime.txt": project["project"]["dependencies"],
        "dev.txt": project["project"]["dependencies"] + project["dependency-groups"]["dev"],
        "bench.txt": project["project"]["dependencies"] + project["project"]["optional-dependencies"]["bench"],
    }
    found: list[str] = []
    pins: dict[str, dict[str, set[str]]] = {}
    for name in FILES:
        text = (ROOT / FOLDER / name).read_text(encoding="utf-8")
        if "://" in text or re.search(r"^--", text, re.MULTILINE):
            found.append(f"{name} names a host or an index option")
        entries = re.split(r"\n(?=\S)", text.replace("\\\n", "").strip())
        found += [f"{name}: {entry.split()[0]} has no hash" for entry in entries if "--hash=sha256:" not in entry]
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
                found.append(f"{name}: {need} is asked for, {sorted(versions) or 'nothing'} is locked")
    for name in ("dev.txt", "bench.txt"):
        found += [
            f"{name} and runtime.txt lock {package} differently"
            for package, versions in pins["runtime.txt"].items()
            if pins[name].get(package) != versions
        ]
    found += [f"{name} holds {package}" for name in FILES for package in UNLOCKED & pins[name].keys()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=["compile", "check"])
    parser.add_argument("--uv", default="uv", help="the uv that resolves")
    arguments, extra = parser.parse_known_args()
    if arguments.command == "compile":
        compile_all(arguments.uv, extra)
    elif found := complaints():
        sys.exit("\n".join([*found, "Run `make lock` to write the requirement files anew."]))
    else:
        print(f"{len(FILES)} requirement files agree with pyproject.toml")


if __name__ == "__main__":
    main()
