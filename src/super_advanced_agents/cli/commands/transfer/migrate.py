"""The command `saa migrate`, which moves everything to another engine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import AsJson, DataDir
from super_advanced_agents.cli.output import FAILED, print_json, print_note, print_result, report_errors

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.migration import Migrated, Migration

_MAX_LISTED = 1_000
_RATE_S = 0.5


@report_errors
def migrate(
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from", envvar="SAA_MIGRATE_FROM", help="The store to move: faiss:DIR, postgresql://... or milvus://..."
        ),
    ],
    target: Annotated[
        str,
        typer.Option("--to", envvar="SAA_MIGRATE_TO", help="The empty store that gets everything, named likewise."),
    ],
    source_state: Annotated[
        str | None,
        typer.Option(
            "--from-state",
            envvar="SAA_MIGRATE_FROM_STATE",
            help="The PostgreSQL database of the source's catalog and keys, named beside a store in Milvus.",
        ),
    ] = None,
    target_state: Annotated[
        str | None,
        typer.Option(
            "--to-state",
            envvar="SAA_MIGRATE_TO_STATE",
            help="The PostgreSQL database of the target's catalog and keys (SAA_STATE of its servers).",
        ),
    ] = None,
    keys: Annotated[bool, typer.Option(help="Move API keys, too: as hashes, so that callers keep theirs.")] = True,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is written meanwhile, until Ctrl-C is pressed.")
    ] = False,
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Move everything of all tenants to another store, and compare both.

    That is memories, collections, settings of agents and API keys.

    The source may be used meanwhile, and is not changed. The same command goes on after an interruption, and catches up
    with what was written since. To switch: stop the servers that write to the source, run the command once more, and
    start them on the target.

    A folder is a data folder, or that of a store alone. Passwords: in SAA_MIGRATE_FROM and SAA_MIGRATE_TO, ~/.pgpass.
    """
    import asyncio

    from super_advanced_agents.server.auth.key_migration import KeyMigration
    from super_advanced_agents.tenancy.migration import Migration

    with (
        KeyMigration(source, target, source_state=source_state, target_state=target_state) as key_migration,
        _progress() as (on_step, on_records),
    ):
        migration = Migration(
            source,
            target,
            data_dir / "migrations",
            source_state=source_state,
            target_state=target_state,
            on_open=key_migration.open if keys else lambda: None,
            on_step=on_step,
            on_records=on_records,
        )
        migrated = asyncio.run(_run(migration, follow=follow))
        moved_keys = key_migration.move()
    _print(migrated, moved_keys, as_json=as_json)
    if not migrated.equal:
        raise typer.Exit(FAILED)


async def _run(migration: Migration, *, follow: bool) -> Migrated:
    import asyncio

    stop = asyncio.Event() if follow else None
    loop = asyncio.get_running_loop()
    if stop is not None:

        def finish() -> None:
            print_note("Catching up and comparing; Ctrl-C again leaves it for the next run.")
            stop.set()
            loop.remove_signal_handler(signal.SIGINT)

        loop.add_signal_handler(signal.SIGINT, finish)
        print_note("Following the source. Stop the servers that write to it, then press Ctrl-C to finish.")
    return await migration.arun(stop)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str, int | None], None], Callable[[int], None]]]:
    with bar(unit="records") as progress:
        task = progress.add_task("opening", total=None) if progress else None
        name, began, count = "opening", time.monotonic(), 0

        def on_step(step: str, total: int | None) -> None:
            nonlocal name, began, count
            name, began, count = step, time.monotonic(), 0
            if progress is not None and task is not None:
                progress.reset(task, description=step, total=total)

        def on_records(records: int) -> None:
            nonlocal count
            count += records
            if progress is not None and task is not None:
                rate = count / max(_RATE_S, time.monotonic() - began)
                progress.update(task, description=f"{name}, {rate:,.0f}/s", completed=count)

        yield on_step, on_records


def _print(migrated: Migrated, keys: int, *, as_json: bool) -> None:
    parts = migrated.parts
    copied, deleted = (sum(getattr(part, name) for part in parts.values()) for name in ("copied", "deleted"))
    seconds = sum(part.seconds for part in parts.values())
    records = sum(checksum.count for part in parts.values() for checksum in part.checksums.values())
    if as_json:
        print_json(
            {
                "equal": migrated.equal,
                "records": records,
                "copied": copied,
                "deleted": deleted,
                "seconds": round(seconds, 3),
                "agents": migrated.agents,
                "collections": len(parts) - 1,
                "keys": keys,
                "models": migrated.models,
                "namespaces": _namespaces(migrated),
            }
        )
        return
    rate = f", {copied / seconds:,.0f}/s" if copied and seconds else ""
    print_result(f"Copied {copied} records in {seconds:.1f} s{rate}; deleted {deleted} that the source has no more.")
    if migrated.agents or len(parts) > 1:
        print_result(f"Stored the settings of {migrated.agents} agents, and {len(parts) - 1} collections.")
    if keys:
        print_result(f"Stored {keys} valid API keys as hashes: callers go on with the keys that they have.")
    if not migrated.with_catalog:
        print_note(
            "Collections, settings of agents and API keys stay where they are: both URLs must be of stores that hold "
            "them, or have --from-state and --to-state beside them."
        )
    if migrated.equal:
        print_result(f"Both stores are equal: {records} records, by count and checksum of each namespace.")
        for model in migrated.models:
            print_note(f"The vectors are of {model}: servers on the target need this model (SAA_EMBEDDING_MODEL).")
    else:
        differing = sum(len(part.differing) for part in parts.values())
        print_note(
            f"{differing} namespaces still differ, since the source is written to: stop what writes to it, and run the "
            "same command again."
        )


def _namespaces(migrated: Migrated) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = []
    for name, part in migrated.parts.items():
        collection = None if name == "memories" else name.partition("/")[2]
        differing = set(part.differing)
        for scope, checksum in sorted(part.checksums.items(), key=lambda each: each[0]):
            tenant = scope.tenant if collection is None else name.partition("/")[0]
            members = {"tenant": tenant, "collection": collection, "namespace": scope.namespace}
            listed.append(
                {**members, "records": checksum.count, "checksum": str(checksum), "equal": scope not in differing}
            )
    return listed[:_MAX_LISTED]
