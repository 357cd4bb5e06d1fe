"""Writes and checks what is generated from the contracts: `contracts.py write`, or `contracts.py check`.

The protocol's messages come from proto/ by the compiler in grpcio-tools, at its locked version. To compile them for
another language, map the folder as is done here: `-Isuper_advanced_agents/protocol/v1=proto/super_advanced_agents/v1`.
docs/openapi.json comes from the server's routes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto" / "super_advanced_agents" / "v1"
PROTOCOL = "super_advanced_agents/protocol/v1"


def protocol_files() -> dict[Path, bytes]:
    """What the protocol compiler makes of proto/: path -> content."""
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
        made = sorted((Path(folder) / PROTOCOL).iterdir())
        return {ROOT / "src" / PROTOCOL / path.name: path.read_bytes() for path in made}


def openapi_file() -> dict[Path, bytes]:
    """What the server says of its REST interface: path -> content."""
    from super_advanced_agents.server.app import create_app
    from super_advanced_agents.tenancy.settings import Settings

    document = create_app(Settings()).openapi()
    return {ROOT / "docs" / "openapi.json": (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()}


def leftovers(files: dict[Path, bytes]) -> list[Path]:
    """Generated files whose source is gone."""
    found = {*(ROOT / "src" / PROTOCOL).glob("*_pb2.py"), *(ROOT / "src" / PROTOCOL).glob("*_pb2.pyi")}
    return sorted(found - set(files))


CONTRACTS: list[Callable[[], dict[Path, bytes]]] = [protocol_files, openapi_file]
"""Each makes files from a source that people write."""


def main() -> None:
    """Write the files, or say which are out of date."""
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
