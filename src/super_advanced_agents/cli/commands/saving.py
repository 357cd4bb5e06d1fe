"""The commands `saa backup` and `saa restore`: copy a data folder, and restore the copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import DATA_DIR, AsJson, DataDir
from super_advanced_agents.cli.output import print_json, print_result, report_errors
from super_advanced_agents.errors import ConfigurationError


def lasting(data_dir: Path) -> list[str]:
    """Return the paths, relative to the data folder, of the databases that a backup copies.

    These hold the memories, the agents' settings and the collections. Indexes are not copied, since they are built
    again from the databases. Neither are API keys and their secret: a copy of the memories must not give access to a
    server.
    """
    collections = sorted(data_dir.glob("collections/*/memory.sqlite3"))
    return [
        "store/memory.sqlite3",
        "server/catalog.db",
        *(str(database.relative_to(data_dir)) for database in collections),
    ]


@report_errors
def backup(
    *,
    target: Annotated[Path, typer.Argument(help="A new folder, which can be used as --data-dir.")],
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Copy a data folder's databases of memories, collections and agents to a new folder.

    A server may use the data folder meanwhile. Indexes and API keys are not copied.
    """
    from super_advanced_agents.stores.local import back_up
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    if not settings.has_own_store:
        raise ConfigurationError(
            "the memories are not in the data folder, but in the store that SAA_STORE names",
            hint="copy that one with its own tools",
        )
    with _copy_bar() as on_copied:
        copy = back_up(data_dir, target, databases=lasting(data_dir), on_copied=on_copied)
    size_bytes = sum(file.size_bytes for file in copy.files)
    if as_json:
        print_json(
            {"path": str(copy.path), "records": copy.records, "size_bytes": size_bytes, "created_at": copy.created_at}
        )
    else:
        print_result(f"Backed up {copy.records} memories ({size_bytes / 2**20:.1f} MiB) to {copy.path}.")


@report_errors
def restore(
    *,
    source: Annotated[Path, typer.Argument(help="A folder that `saa backup` made.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a data folder that is not empty; the old one is renamed and kept.")
    ] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Restore a data folder from a folder that `saa backup` made.

    The backup is checked first; a damaged one changes nothing.
    """
    from super_advanced_agents.stores.local import is_backup_of_one_store, read_backup
    from super_advanced_agents.stores.local import restore as put_back

    manifest = read_backup(source)
    replaced = put_back(source, data_dir / "store" if is_backup_of_one_store(manifest) else data_dir, force=force)
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
