"""The commands `saa keys ...`, which create, list, rotate and revoke a server's API keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import AsJson, DataDir
from super_advanced_agents.cli.output import print_json, print_note, print_result, report_errors, without_controls
from super_advanced_agents.cli.recording import record as record_command

if TYPE_CHECKING:
    from super_advanced_agents.server.auth.key_source import Keys
    from super_advanced_agents.server.auth.key_store import KeyRecord

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, list, replace and revoke API keys. A running server applies a change within a second.",
)


@keys.command("create")
@report_errors
def create(
    *,
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="memories:read, memories:write, generate, jobs, admin (includes these) or metrics; may be repeated.",
        ),
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant; tenants do not see each other's data.")] = (
        "default"
    ),
    expires_in_s: Annotated[
        float | None, typer.Option("--expires-in-s", help="Seconds until the key expires; never if not given.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="A label that `saa keys list` shows.")] = "",
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Create an API key for the server of a data folder, and print it; it is not shown again."""
    with _open_keys(data_dir) as table:
        assert table is not None
        key = table.create(tenant=tenant, scopes=scope, label=label, expires_in_s=expires_in_s)
    record_command(data_dir, "createKey", target=key.id, tenant=tenant)
    if as_json:
        print_json({"key": key.key, "id": key.id})
    else:
        print_result(key.key)
        print_note(f"The key is shown only once; its id is {key.id}. Send it as 'Authorization: Bearer KEY'.")


@keys.command("list")
@report_errors
def list_(*, data_dir: DataDir, as_json: AsJson = False) -> None:
    """List all API keys, oldest first, by id, state, tenant, permissions (scopes) and label.

    The keys themselves cannot be shown again.
    """
    with _open_keys(data_dir, create=False) as table:
        records = [] if table is None else table.records()
    if as_json:
        print_json({"keys": [_as_json(record) for record in records]})
        return
    for record in records:
        scopes = " ".join(sorted(record.scopes))
        print_result(
            f"{record.id}  {record.state:<7}  {record.tenant}  {scopes}  {without_controls(record.label)}".rstrip()
        )
    if not records:
        print_note("No keys. `saa keys create --scope admin` makes one; so does the first `saa serve`.")


@keys.command("revoke")
@report_errors
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `saa keys list` shows.")],
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Revoke the API key with the given id; this cannot be undone."""
    from super_advanced_agents.errors import InvalidInputError
    from super_advanced_agents.server.auth.key_store import checked_key_id

    key_id = checked_key_id(key_id)
    with _open_keys(data_dir, create=False) as table:
        tenant = "" if table is None else _tenant_of(table, key_id)
        revoked = table is not None and table.revoke(key_id)
    if not revoked:
        raise InvalidInputError(f"there is no key {key_id!r}", field="id", hint="`saa keys list` shows the ids")
    record_command(data_dir, "revokeKey", target=key_id, tenant=tenant)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        print_result(f"Revoked {key_id}.")


@keys.command("rotate")
@report_errors
def rotate(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `saa keys list` shows.")],
    overlap_s: Annotated[
        float, typer.Option("--overlap-s", min=0, help="Seconds for which the old key stays valid.")
    ] = 86_400.0,
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Replace an API key by a new one with its tenant, scopes and label, and print it."""
    from super_advanced_agents.errors import InvalidInputError
    from super_advanced_agents.server.auth.key_store import checked_key_id
    from super_advanced_agents.server.auth.rotation import rotate_key

    key_id = checked_key_id(key_id)
    with _open_keys(data_dir, create=False) as table:
        if table is None:
            raise InvalidInputError(f"there is no key {key_id!r}", field="id", hint="`saa keys create` makes one")
        made, ends_at = rotate_key(table, key_id, overlap_s=overlap_s)
        tenant = _tenant_of(table, made.id)
    record_command(data_dir, "rotateKey", target=key_id, tenant=tenant)
    record_command(data_dir, "createKey", target=made.id, tenant=tenant)
    if as_json:
        print_json({"key": made.key, "id": made.id, "replaced": key_id, "replaced_expires_at": ends_at})
    else:
        print_result(made.key)
        print_note(f"The key is shown only once; its id is {made.id}. {key_id} stays valid for {overlap_s:g} s more.")


@keys.command("generate")
@report_errors
def generate() -> None:
    """Print a new API key that is stored nowhere, for the setting `admin_key`."""
    from super_advanced_agents.server.auth.key_store import new_key

    print_result(new_key().key)


@contextmanager
def _open_keys(data_dir: Path, *, create: bool = True) -> Iterator[Keys | None]:
    # Yields None if there are no keys and `create` is false.
    from super_advanced_agents.server.auth.key_source import are_stored, open_keys
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    if not create and not are_stored(settings):
        yield None
        return
    with open_keys(settings) as table:
        yield table


def _tenant_of(table: Keys, key_id: str) -> str:
    return next((record.tenant for record in table.records() if record.id == key_id), "")


def _as_json(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "state": record.state,
        "tenant": record.tenant,
        "scopes": sorted(record.scopes),
        "label": record.label,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }
