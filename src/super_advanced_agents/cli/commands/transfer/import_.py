"""The command `saa import`, which makes the memory follow files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import AGENT, AnyAgent, AsJson, DataDir, Identity, ModelsDir, ServerURL
from super_advanced_agents.cli.output import (
    FAILED,
    INTERRUPTED,
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)
from super_advanced_agents.cli.recording import record as record_command
from super_advanced_agents.cli.session import open_agent, open_memories, server_key
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.importing.files import Input, Inputs
    from super_advanced_agents.tenancy.importing.planning import Planning
    from super_advanced_agents.tenancy.importing.summary import RejectedLine, Summary
    from super_advanced_agents.tenancy.importing.target import Target

_MAX_PRINTED = 20
_INDEXED = 1_000
"""An import of this many new memories makes the keyword index, in place of the first search.

It takes 60 µs for each, and embedding them some milliseconds.
"""


@report_errors
def import_(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Files, folders and zip files; '-' is standard input.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="The format of all files; each file's content tells if not given.")
    ] = None,
    memory_type: Annotated[
        str, typer.Option("--type", help="The label of memories from documents, such as Markdown.")
    ] = "document",
    sync: Annotated[
        bool, typer.Option("--sync", help="Also delete the memories of files and entries that are gone.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be stored and deleted.")] = False,
    reembed: Annotated[
        bool, typer.Option("--reembed", help="Embed the texts of an export again, with the configured model.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be imported.")] = False,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="The tenant that gets the data of an export; its own tenants if not given."),
    ] = None,
    from_tenant: Annotated[
        str | None, typer.Option("--from-tenant", help="Import only this tenant of an export.")
    ] = None,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AnyAgent = None,
    url: ServerURL = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Import notes, tables, chats and exports, and follow the changes of their files.

    A second import stores what is new, replaces what was changed, and doubles nothing.

    What a `saa export` holds is restored to the tenants and agents that had it, or to --tenant and --agent. At a server
    (--url), it goes to the key's tenant, and the server embeds the texts; settings of agents need the scope admin.
    """
    from super_advanced_agents.cli.encryption import decrypted_files
    from super_advanced_agents.formats import UNDERSTOOD
    from super_advanced_agents.tenancy.importing.files import Inputs
    from super_advanced_agents.tenancy.importing.locations import Locations, location_file
    from super_advanced_agents.tenancy.importing.planning import Planning
    from super_advanced_agents.tenancy.importing.summary import Summary

    _check_format(format_)
    if url is not None and tenant is not None:
        raise InvalidInputError("the key names the tenant at a server", field="--tenant", hint="leave --tenant out")
    summary, rejections = Summary(), _Rejections(strict=strict)
    with ExitStack() as stack:
        inputs = Inputs(stack.enter_context(decrypted_files(paths, identity, data_dir)), stack, without=data_dir)
        exports, others = _divided(inputs, forced=format_, for_tenants=bool(tenant or from_tenant), dry_run=dry_run)
        follows = bool(others) or (sync and bool(inputs.complete))
        if not exports and not follows:
            raise InvalidInputError("there are no files to import", field="paths", hint=f"understood are {UNDERSTOOD}")
        with _print_summary_at_end(summary, inputs, as_json=as_json, dry_run=dry_run):
            if exports:
                with _byte_bar(exports) as on_bytes:
                    if url is None:
                        from super_advanced_agents.cli.importing.exports import ExportImporter

                        ExportImporter(
                            data_dir, models_dir, namespace=agent, tenant=tenant, from_tenant=from_tenant,
                            reembed=reembed, strict=strict, summary=summary,
                            on_bytes=on_bytes, on_rejected=rejections.print,
                        ).run(exports)  # fmt: skip
                    else:
                        from super_advanced_agents.cli.at_server.restoring import ServerImporter

                        ServerImporter(
                            url, server_key(), namespace=agent, from_tenant=from_tenant, summary=summary,
                            on_bytes=on_bytes, on_rejected=rejections.reject,
                        ).run(exports)  # fmt: skip
            locations = Locations(location_file(data_dir, at_server=url is not None))
            planning = Planning(
                inputs=inputs, locations=locations, memory_type=memory_type, forced=format_, sync=sync, summary=summary,
                on_rejected=rejections.reject,
            )  # fmt: skip
            if follows and dry_run:
                with open_memories(data_dir, agent or AGENT, url=url) as memories:
                    planning.preview(others, memories)
            elif follows:
                with open_agent(data_dir, models_dir, agent or AGENT, url=url, writes=True, embeds=True) as llm_agent:
                    _import_files(planning, others, llm_agent)
                    if summary.stored >= _INDEXED and url is None:
                        llm_agent.search_text("words", 1, mode="keyword")
        if url is None and not dry_run:
            _record(data_dir, agent or "", (tenant or "") if exports else DEFAULT_TENANT, summary)
    if summary.failed:
        raise typer.Exit(FAILED)


def _record(data_dir: Path, agent: str, tenant: str, summary: Summary) -> None:
    record_command(data_dir, "import", target=agent, tenant=tenant, items=summary.stored)
    if summary.deleted:
        record_command(data_dir, "forgetMemories", target=agent, tenant=tenant, items=summary.deleted)


def _check_format(name: str | None) -> None:
    from super_advanced_agents.formats import FORMAT_NAMES

    if name is not None and name not in FORMAT_NAMES:
        raise InvalidInputError(
            f"there is no format {name!r}", field="--format", hint=f"use one of {', '.join(FORMAT_NAMES)}"
        )


def _divided(
    inputs: Inputs, *, forced: str | None, for_tenants: bool, dry_run: bool
) -> tuple[list[Input], list[Input]]:
    # The files that `saa export` wrote, and the others.
    from super_advanced_agents.cli.importing.exports import is_export

    exports: list[Input] = []
    others: list[Input] = []
    for file in inputs.find():
        (exports if forced is None and is_export(file) else others).append(file)
    if others and for_tenants:
        raise InvalidInputError(
            "other files than exports are imported for the default tenant only",
            field="--tenant",
            hint="leave --tenant out, or import them through a server with a key of that tenant",
        )
    if exports and dry_run:
        raise InvalidInputError("an export is always imported as a whole", field="--dry-run", hint="leave it out")
    return exports, others


def _import_files(planning: Planning, files: list[Input], target: Target) -> None:
    from super_advanced_agents.tenancy.importing.applying import Applier

    with closing(planning.plan(files, target)) as plan, bar(unit="memories") as progress:
        planning.locations.save()
        task = progress.add_task("importing", total=plan.to_store) if progress else None

        def on_stored(count: int) -> None:
            if progress is not None and task is not None:
                progress.advance(task, count)

        Applier(target, summary=planning.summary, on_stored=on_stored, on_rejected=planning.on_rejected).apply(plan)


class _Rejections:
    # Prints the first lines that cannot be imported; the summary has the number of all.

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._printed = 0

    def print(self, rejected: RejectedLine) -> None:
        self._printed += 1
        if self._printed <= _MAX_PRINTED:
            print_note(without_controls(f"{rejected.location}: {rejected.reason}"))
        elif self._printed == _MAX_PRINTED + 1:
            print_note("Further lines that cannot be imported are only counted.")

    def reject(self, rejected: RejectedLine) -> None:
        from super_advanced_agents.tenancy.importing.summary import StrictStopError

        self.print(rejected)
        if self._strict:
            raise StrictStopError(
                f"stopped at {rejected.location}: {rejected.reason}",
                hint="correct the line, then run the same command again",
            )


@contextmanager
def _byte_bar(inputs: list[Input]) -> Iterator[Callable[[int], None]]:
    with bar(unit="bytes") as progress:
        size = sum(file.path.stat().st_size for file in inputs if file.path is not None)
        task = progress.add_task("importing", total=size or None) if progress else None

        def on_bytes(count: int) -> None:
            if progress is not None and task is not None:
                progress.advance(task, count)

        yield on_bytes


@contextmanager
def _print_summary_at_end(summary: Summary, inputs: Inputs, *, as_json: bool, dry_run: bool) -> Iterator[None]:
    summary.passed_over = inputs.passed_over
    try:
        yield
    except KeyboardInterrupt:
        _print_summary(summary, as_json=as_json, dry_run=dry_run, complete=False)
        print_note("Interrupted; the stored memories stay. The same command again stores the rest.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        _print_summary(summary, as_json=as_json, dry_run=dry_run, complete=False)
        raise
    _print_summary(summary, as_json=as_json, dry_run=dry_run, complete=True)


def _print_summary(summary: Summary, *, as_json: bool, dry_run: bool, complete: bool) -> None:
    if as_json:
        changes = {source: dict(counts) for source, counts in summary.changes.items()}
        print_json(
            {
                **({"changes": changes} if dry_run else {}),
                "stored": summary.stored,
                "replaced": summary.replaced,
                "known": summary.known,
                "deleted": summary.deleted,
                "kept": summary.kept,
                "failed": summary.failed,
                "agents": summary.agents,
                "collections": summary.collections,
                "left_out": dict(summary.left_out),
                "passed_over": dict(summary.passed_over),
                "vanished": summary.vanished,
                "files": summary.files,
                "dry_run": dry_run,
                "complete": complete,
                "errors": [
                    {"at": str(rejected.location), "why": rejected.reason} for rejected in summary.rejected_lines
                ],
            }
        )
        return
    if dry_run:
        _print_changes(summary)
    _print_counts(summary, dry_run=dry_run)
    if summary.agents or summary.collections:
        print_result(f"Stored the settings of {summary.agents} agents and {summary.collections} collections.")
    if summary.passed_over:
        print_note(f"Passed over: {_listed(summary.passed_over)}.")
    if summary.left_out:
        print_note(f"Left out: {_listed(summary.left_out)}.")
    if summary.kept:
        print_note(f"{summary.kept} memories are no longer in their files; --sync deletes such memories.")
    for source in summary.vanished[:_MAX_PRINTED]:
        print_note(without_controls(f"Gone: {source}"))
    for source in summary.untold:
        print_note(f"{source} is of an older version, which did not tell tenants: all of it went to one tenant.")


def _print_changes(summary: Summary) -> None:
    for source, counts in list(summary.changes.items())[:_MAX_PRINTED]:
        changes = ", ".join(f"{count} {how}" for how, count in counts.items())
        print_result(without_controls(f"{source}: {changes}"))
    if len(summary.changes) > _MAX_PRINTED:
        print_result(f"and {len(summary.changes) - _MAX_PRINTED} other files; --json lists 1,000")


def _print_counts(summary: Summary, *, dry_run: bool) -> None:
    stored, deleted = ("Would store", "would delete") if dry_run else ("Stored", "deleted")
    replaced = f" ({summary.replaced} in place of older texts)" if summary.replaced else ""
    gone = f", {deleted} {summary.deleted}" if summary.deleted else ""
    known = f", {summary.known} were stored before" if summary.known else ""
    failed = f", {summary.failed} lines could not be imported" if summary.failed else ""
    print_result(f"{stored} {summary.stored} memories from {summary.files} files{replaced}{gone}{known}{failed}.")


def _listed(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    listed = ", ".join(f"{count} {what}" for what, count in ordered[:_MAX_PRINTED])
    return listed if len(ordered) <= _MAX_PRINTED else f"{listed} and {len(ordered) - _MAX_PRINTED} other kinds"
