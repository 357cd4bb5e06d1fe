"""`saa backup` and `saa restore`: everything that lasts, copied whole and put back whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import DATA_DIR, AsJson, DataDir
from super_advanced_agents.cli.output import emit, reported, say
from super_advanced_agents.errors import ConfigurationError


def lasting(data_dir: Path) -> list[str]:
    """The databases of a data folder: memories, the catalogue of a server, and its collections.

    Indexes are made anew from rows. Credentials stay where they are: a copy of the memories opens no doors.
    """
    collections = sorted(data_dir.glob("collections/*/memory.sqlite3"))
    return [
        "store/memory.sqlite3",
        "server/catalog.db",
        *(str(found.relative_to(data_dir)) for found in collections),
    ]


@reported
def backup(
    *,
    target: Annotated[Path, typer.Argument(help="A new folder; it can be used as --data-dir as it is.")],
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Copy everything that lasts into a new folder, also while a server or another command is writing."""
    from super_advanced_agents.stores.local import back_up
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    if not settings.has_own_store:
        raise ConfigurationError(
            "the memories are not in the data folder, but in the store that SAA_STORE names",
            hint="copy that one with its own tools",
        )
    with _copy_bar() as on_copied:
        made = back_up(data_dir, target, databases=lasting(data_dir), on_copied=on_copied)
    size_bytes = sum(file.size_bytes for file in made.files)
    if as_json:
        emit({"path": str(made.path), "records": made.records, "size_bytes": size_bytes, "created_at": made.created_at})
    else:
        say(f"Backed up {made.records} memories ({size_bytes / 2**20:.1f} MiB) to {made.path}.")


@reported
def restore(
    *,
    source: Annotated[Path, typer.Argument(help="A folder that `saa backup` made.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a data folder that is not empty; it is kept beside the new one.")
    ] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the data folder, checked first; a damaged one changes nothing."""
    from super_advanced_agents.stores.local import is_backup_of_one_store, read_backup
    from super_advanced_agents.stores.local import restore as put_back

    found = read_backup(source)
    aside = put_back(source, data_dir / "store" if is_backup_of_one_store(found) else data_dir, force=force)
    if as_json:
        emit({"records": found.records, "data_dir": str(data_dir), "kept": None if aside is None else str(aside)})
        return
    kept = "" if aside is None else f" What was there is now {aside}."
    say(f"Restored {found.records} memories to {data_dir}.{kept}")


@contextmanager
def _copy_bar() -> Iterator[Callable[[int, int], None] | None]:
    with bar(unit="bytes") as progress:
        if progress is None:
            yield None
            return
        task = progress.add_task("backing up", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
