"""`saa keys`: who may call a server, and what for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import DATA_DIR, AsJson, DataDir
from super_advanced_agents.cli.output import emit, note, reported, say, shown

if TYPE_CHECKING:
    from super_advanced_agents.server.auth.key_store import KeyRecord

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, list and revoke API keys; a running server honours a change within a second.",
)


@keys.command("create")
@reported
def create(
    *,
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope", help="memories:read, memories:write, generate, jobs or admin (all of them); may be repeated."
        ),
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose data it opens; tenants see nothing of each other.")] = (
        "default"
    ),
    expires_in_s: Annotated[
        float | None, typer.Option("--expires-in-s", help="Seconds until it is worthless; never if not given.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="What you will know it by.")] = "",
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    from super_advanced_agents.server.auth.key_store import KeyTable

    table = KeyTable(_folder(data_dir))
    try:
        made = table.create(tenant=tenant, scopes=scope, label=label, expires_in_s=expires_in_s)
    finally:
        table.close()
    if as_json:
        emit({"key": made.key, "id": made.id})
    else:
        say(made.key)
        note(f"Shown this once; its id is {made.id}. Send it as 'Authorization: Bearer KEY'.")


@keys.command("list")
@reported
def list_(*, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List all keys, oldest first, by their ids; nobody can show a key again."""
    from super_advanced_agents.server.auth.key_store import KEYS_FILE, KeyTable

    records: list[KeyRecord] = []
    if (_folder(data_dir) / KEYS_FILE).exists():
        table = KeyTable(_folder(data_dir))
        try:
            records = table.records()
        finally:
            table.close()
    if as_json:
        emit({"keys": [_told(record) for record in records]})
        return
    for record in records:
        scopes = " ".join(sorted(record.scopes))
        say(f"{record.id}  {record.state:<7}  {record.tenant}  {scopes}  {shown(record.label)}".rstrip())
    if not records:
        note("No keys. `saa keys create --scope admin` makes one; so does the first `saa serve`.")


@keys.command("revoke")
@reported
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `saa keys list` shows it.")],
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Make a key worthless, for good."""
    from super_advanced_agents.errors import InvalidInputError
    from super_advanced_agents.server.auth.key_store import KEYS_FILE, KeyTable, checked_key_id

    key_id = checked_key_id(key_id)
    found = False
    if (_folder(data_dir) / KEYS_FILE).exists():
        table = KeyTable(_folder(data_dir))
        try:
            found = table.revoke(key_id)
        finally:
            table.close()
    if not found:
        raise InvalidInputError(f"there is no key {key_id!r}", field="id", hint="`saa keys list` shows the ids")
    if as_json:
        emit({"id": key_id, "revoked": True})
    else:
        say(f"Revoked {key_id}.")


def _folder(data_dir: Path) -> Path:
    from super_advanced_agents.tenancy.settings import Settings

    return Settings.load(data_dir=data_dir).server_dir


def _told(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "state": record.state,
        "tenant": record.tenant,
        "scopes": sorted(record.scopes),
        "label": record.label,
        "created_at": _moment(record.created_at),
        "expires_at": _moment(record.expires_at),
        "revoked_at": _moment(record.revoked_at),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
