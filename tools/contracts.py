"""Write or check the files that are generated from contracts: `contracts.py write|check`.

The protocol's messages come from proto/ by the compiler in grpcio-tools, at its locked version. To compile them for
another language, map the folder as is done here: `-Isuper_advanced_agents/protocol/v1=proto/super_advanced_agents/v1`.
docs/openapi.json comes from the server's routes, docs/settings.md from the class of settings.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import public_names
import settings_page

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto" / "super_advanced_agents" / "v1"
PROTOCOL = "super_advanced_agents/protocol/v1"


def protocol_files() -> dict[Path, bytes]:
    """Compile proto/, and return path -> content of the generated modules."""
    from grpc_tools import protoc

    names = sorted(path.name for path in PROTO.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        failed = protoc.main(
            [
                "protoc",
                f"-I{PROTOCOL}={PROTO}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                *(f"{PROTOCOL}/{name}" for name in names),
            ]
        )
        if failed:
            sys.exit("proto/ could not be compiled")
        modules = sorted((Path(folder) / PROTOCOL).iterdir())
        return {ROOT / "src" / PROTOCOL / path.name: path.read_bytes() for path in modules}


def openapi_file() -> dict[Path, bytes]:
    """Return path -> content of the OpenAPI document of the server's REST interface."""
    from super_advanced_agents.server.app import create_app
    from super_advanced_agents.tenancy.settings import Settings

    document = create_app(Settings()).openapi()
    return {ROOT / "docs" / "openapi.json": (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()}


def public_names_file() -> dict[Path, bytes]:
    """Return the page of public names: path -> content."""
    return {ROOT / "docs" / "public-api.md": public_names.page().encode()}


def settings_file() -> dict[Path, bytes]:
    """Return the page of settings: path -> content."""
    return {ROOT / "docs" / "settings.md": settings_page.page().encode()}


def leftovers(files: dict[Path, bytes]) -> list[Path]:
    """Return the generated files whose source no longer exists."""
    generated = {*(ROOT / "src" / PROTOCOL).glob("*_pb2.py"), *(ROOT / "src" / PROTOCOL).glob("*_pb2.pyi")}
    return sorted(generated - set(files))


CONTRACTS: list[Callable[[], dict[Path, bytes]]] = [protocol_files, openapi_file, public_names_file, settings_file]
"""The generators; each makes files from a source that people write."""


def main() -> None:
    """Write the generated files, or exit with the names of those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["write", "check"])
    action = parser.parse_args().action
    files = {path: content for contract in CONTRACTS for path, content in contract().items()}
    stale = [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    gone = leftovers(files)
    if action == "write":
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[path])
        for path in gone:
            path.unlink()
    elif stale or gone:
        names = ", ".join(str(path.relative_to(ROOT)) for path in [*stale, *gone])
        sys.exit(f"out of date: {names}; run `make contracts`")


if __name__ == "__main__":
    main()
