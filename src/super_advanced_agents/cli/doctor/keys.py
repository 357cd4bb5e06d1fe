"""Check of `saa doctor` for the API keys and their secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.config import SERVER_FOLDER
from super_advanced_agents.errors import SuperAdvancedAgentsError


def check_keys(data_dir: Path) -> Iterator[Check]:
    """Yield a check result: whether the API keys and the secret that verifies them are usable."""
    server = data_dir / SERVER_FOLDER
    if not server.is_dir():
        return
    there = [(server / name).is_file() for name in ("keys.db", "secret")]
    if all(there):
        yield _usable_keys(server)
    elif any(there):
        missing = "secret" if there[0] else "keys.db"
        hint = "put the file back, or remove the other one too and make new keys: saa keys create"
        yield Check(name="keys", ok=False, detail=f"'server/{missing}' is missing: no key is accepted", hint=hint)
    else:
        yield Check(name="keys", ok=True, detail="none; the first start makes one, or `saa keys create`")


def _usable_keys(server: Path) -> Check:
    from super_advanced_agents.server.auth.key_store import KeyTable

    try:
        with closing(KeyTable(server, create=False)) as keys:
            keys.check()
    except SuperAdvancedAgentsError as exc:
        return Check(name="keys", ok=False, detail=exc.message, hint=exc.hint or "")
    return Check(name="keys", ok=True, detail="the keys and their secret are there and fit each other")
