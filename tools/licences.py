"""List the licences of all packages that a server needs (`write`), or check them (`check`).

The packages are the closure of the project's dependencies and of the image's extras in this environment. One whose
licence is none of ALLOWED fails the check, so that a new dependency is looked at once.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "licences.md"
EXTRAS = ("encryption", "postgres", "traces", "valkey")
ALLOWED = re.compile(
    r"(0BSD|Apache-2\.0|BSD(-[234]-Clause)?|CC0-1\.0|CNRI-Python|HPND|ISC|LGPL-(2\.1|3\.0)-(only|or-later)|MIT(-0|-CMU)?|MPL-2\.0"
    r"|OFL-1\.1|PSF-2\.0|Python-2\.0(\.1)?|Unlicense|Zlib|GCC-exception-3\.1|GPL-3\.0-or-later WITH GCC-exception-3\.1"
    r"|BSL-1\.0|LLVM-exception|Apache-2\.0 WITH LLVM-exception)"
)
"""Licences that ask nothing of programs which use such packages unchanged."""

SAID = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD": "BSD",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""SPDX identifiers of what packages say in words."""


UNSAID = {"pyrage": "MIT"}
"""Packages whose metadata names none, by the licence file that they carry."""


def closure() -> dict[str, metadata.Distribution]:
    """Return the installed distributions that the project and its extras need, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(need for extra in EXTRAS for need in project["optional-dependencies"][extra])]
    found: dict[str, metadata.Distribution] = {}
    waiting = [(canonicalize_name(need.name), tuple(sorted(need.extras))) for need in map(Requirement, wanted)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        found[name] = distribution
        for text in distribution.requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((canonicalize_name(need.name), tuple(sorted(need.extras))))
    return dict(sorted(found.items()))


def licence_of(distribution: metadata.Distribution) -> str:
    """Return the SPDX expression of a distribution's licence, or what it says in words."""
    expression = distribution.metadata.get("License-Expression")
    if expression:
        return expression
    classifiers = distribution.metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: OSI Approved ::")]
    if named:
        return " AND ".join(SAID.get(name, name) for name in named)
    words = (distribution.metadata.get("License") or "").strip().partition("\n")[0]
    return SAID.get(words, words) or UNSAID.get(distribution.name, "unknown")


def is_allowed(expression: str) -> bool:
    """Return whether each part of an expression that AND joins has an allowed licence."""
    return all(
        any(ALLOWED.fullmatch(choice.strip(" ()")) for choice in part.split(" OR "))
        for part in re.split(r" AND (?![^(]*\))", expression)
    )


def rows(packages: dict[str, metadata.Distribution]) -> list[str]:
    """Return a line for each package."""
    return [f"| {name} | {licence_of(each)} |" for name, each in packages.items()]


def table(packages: dict[str, metadata.Distribution]) -> str:
    """Return the page that lists the packages."""
    listed = "\n".join(rows(packages))
    return (
        "# Licences\n\nWhat a server with the extras of the image installs, written by `make licences`; `make check`\n"
        "compares it and refuses licences that `tools/licences.py` does not allow.\n\n"
        f"| package | licence |\n|---|---|\n{listed}\n"
    )


def main() -> None:
    """Write the page, or exit with what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=["write", "check"])
    command = parser.parse_args().command
    packages = closure()
    refused = {name: licence for name, each in packages.items() if not is_allowed(licence := licence_of(each))}
    if refused:
        sys.exit("these licences are not allowed: " + "; ".join(f"{name}: {text}" for name, text in refused.items()))
    if command == "write":
        FILE.write_text(table(packages), encoding="utf-8")
    elif not set(rows(packages)) <= set(FILE.read_text(encoding="utf-8").splitlines()):  # Pythons differ a little
        sys.exit("docs/licences.md is not that of the installed packages: run `make licences`")
    else:
        print(f"the licences of {len(packages)} packages are allowed")


if __name__ == "__main__":
    main()
