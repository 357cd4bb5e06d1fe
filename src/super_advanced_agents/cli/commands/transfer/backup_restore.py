"""The commands `saa backup` and `saa restore`: copy a data folder, and restore the copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import AsJson, DataDir, EncryptTo, Identity
from super_advanced_agents.cli.output import FAILED, print_json, print_note, print_result, report_errors
from super_advanced_agents.cli.recording import record as record_command
from super_advanced_agents.errors import ConfigurationError


@report_errors
def backup(
    *,
    target: Annotated[Path, typer.Argument(help="A new folder, usable as --data-dir; with --encrypt-to a file.")],
    data_dir: DataDir,
    encrypt_to: EncryptTo = None,
    as_json: AsJson = False,
) -> None:
    """Copy a data folder's databases of memories, collections and agents to a new folder.

    A server may use the data folder meanwhile. Indexes and API keys are not copied. With --encrypt-to the target is one
    encrypted file.
    """
    from super_advanced_agents.tenancy.data_folder.saving import back_up_data_folder
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    if not settings.has_own_store:
        raise ConfigurationError(
            "the memories are not in the data folder, but in the store that SAA_STORE names",
            hint="copy that one with its own tools",
        )
    with _copy_bar() as on_copied:
        if encrypt_to:
            from super_advanced_agents.cli.encryption import back_up_encrypted

            done = back_up_encrypted(
                target, encrypt_to, lambda folder: back_up_data_folder(data_dir, folder, on_copied=on_copied)
            )
        else:
            done = back_up_data_folder(data_dir, target, on_copied=on_copied)
    copy, path = done.backup, target if encrypt_to else done.backup.path
    record_command(data_dir, "backup", tenant="", items=copy.records, path=target)
    size_bytes = sum(file.size_bytes for file in copy.files)
    if as_json:
        print_json(
            {
                "path": str(path),
                "records": copy.records,
                "collections": done.collections,
                "damaged": done.damaged,
                "size_bytes": size_bytes,
                "created_at": copy.created_at,
            }
        )
    else:
        print_result(f"Backed up {copy.records} memories ({size_bytes / 2**20:.1f} MiB) to {path}.")
    if done.damaged:
        print_note(f"{done.damaged} damaged collections or rows of the catalog were left out; see `saa doctor`.")
        raise typer.Exit(FAILED)


@report_errors
def restore(
    *,
    source: Annotated[Path, typer.Argument(help="A folder, or with --identity a file, that `saa backup` made.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a data folder that is not empty; the old one is renamed and kept.")
    ] = False,
    data_dir: DataDir,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Restore a data folder from a folder that `saa backup` made.

    The backup is checked first; a damaged one changes nothing.
    """
    from super_advanced_agents.tenancy.data_folder.saving import restore_data_folder

    if identity is None:
        done = restore_data_folder(source, data_dir, force=force)
    else:
        from super_advanced_agents.cli.encryption import decrypted_backup

        with decrypted_backup(source, identity, data_dir) as folder:
            done = restore_data_folder(folder, data_dir, force=force)
    manifest, replaced = done.backup, done.kept
    record_command(data_dir, "restore", tenant="", items=manifest.records)
    if as_json:
        print_json(
            {
                "records": manifest.records,
                "data_dir": str(data_dir),
                "kept": None if replaced is None else str(replaced),
            }
        )
        return
    kept = "" if replaced is None else f" The old data folder is now {replaced}."
    print_result(f"Restored {manifest.records} memories to {data_dir}.{kept}")


@contextmanager
def _copy_bar() -> Iterator[Callable[[int, int], None] | None]:
    with bar(unit="bytes") as progress:
        if progress is None:
            yield None
            return
        task = progress.add_task("backing up", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
