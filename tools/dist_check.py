"""Build wheel and sdist, and use them without the source tree.

The sdist must build the very wheel that the tree builds. The wheel is installed with the locked requirements into a new
environment, and there it stores a memory, finds it, and serves it, from a folder that holds nothing of the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TRY = """
import importlib.metadata, pathlib, super_advanced_agents as package
assert "site-packages" in package.__file__, package.__file__
assert (pathlib.Path(package.__file__).parent / "py.typed").exists()
for name in package.__all__:
    getattr(package, name)
print(importlib.metadata.version("super-advanced-agents"))
"""


def main() -> None:
    """Build, compare, install and try."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the Python of the new environment")
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements" / "runtime.txt")
    arguments = parser.parse_args()
    wheel, sdist = build(ROOT, DIST)
    with tempfile.TemporaryDirectory(prefix="saa-dist-") as name:
        folder = Path(name)
        compare(wheel, sdist, folder)
        use(wheel, arguments.python, arguments.requirements, folder)


def build(tree: Path, target: Path) -> tuple[Path, Path]:
    """Build both into a folder, and return their paths."""
    for old in target.glob("super_advanced_agents-*"):
        old.unlink()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
    run(sys.executable, "-m", "hatchling", "build", "--directory", target, cwd=tree, env=environment)
    [wheel], [sdist] = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


def compare(wheel: Path, sdist: Path, folder: Path) -> None:
    """Check what the two hold, and that the sdist builds the same wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert all(name.split("/")[0].split("-")[0] in {"super_advanced_agents", "async_llm_agent"} for name in names), (
        names
    )
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    [tree] = (folder / "sdist").iterdir()
    assert (tree / "tests").is_dir()
    again, _ = build(tree, folder / "again")
    assert again.read_bytes() == wheel.read_bytes(), "the sdist builds another wheel than the tree"
    print(f"{wheel.name} has {len(names)} files, and {sdist.name} builds the same bytes", flush=True)


def use(wheel: Path, python: str, requirements: Path, folder: Path) -> None:
    """Install the wheel into a new environment, and try it there."""
    environment, work = folder / "environment", folder / "work"
    work.mkdir()
    run(python, "-m", "venv", environment)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", requirements)
    run(*pip, "--no-deps", "--no-index", wheel)
    version = run(environment / "bin" / "python", "-c", TRY, cwd=work)
    saa = environment / "bin" / "saa"
    variables = {**os.environ, "SAA_DATA_DIR": str(work / "data")}
    variables.pop("PYTHONPATH", None)
    run(saa, "add", "The pump in hall 3 was replaced in May.", cwd=work, env=variables)
    found = run(saa, "search", "When was the pump replaced?", "--json", cwd=work, env=variables)
    assert "hall 3" in json.dumps(json.loads(found)), found
    python_version = run(environment / "bin" / "python", "--version")
    print(f"version {version} stores and finds on {python_version} without the source tree", flush=True)


def run(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command, and return what it printed, or stop with its error."""
    without = {name: value for name, value in (env or os.environ).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=without, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
