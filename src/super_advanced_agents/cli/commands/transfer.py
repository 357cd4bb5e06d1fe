"""The commands `saa import` and `saa export`: read memories from files, and write them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.inputs import parse_json_object
from super_advanced_agents.cli.options import AGENT, DATA_DIR, AnyAgent, AsJson, DataDir, ModelsDir, WhereText
from super_advanced_agents.cli.output import (
    FAILED,
    INTERRUPTED,
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)
from super_advanced_agents.cli.session import open_agent
from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:
    from super_advanced_agents.cli.importing.entries import RejectedLine
    from super_advanced_agents.cli.importing.files import Input
    from super_advanced_agents.cli.importing.importer import Summary


@report_errors
def import_(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; '-' is standard input.")],
    format_: Annotated[
        Literal["jsonl", "markdown", "text"] | None,
        typer.Option("--format", help="The format of the files; by their endings if not given."),
    ] = None,
    memory_type: Annotated[
        str, typer.Option("--type", help="The label of memories from plain text and Markdown.")
    ] = "document",
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
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AnyAgent = None,
    as_json: AsJson = False,
) -> None:
    """Import memories from plain text, Markdown, JSON lines and files that `saa export` wrote.

    A second import of the same files stores nothing twice.

    What a `saa export` holds is restored to the tenants and agents that had it, or to --tenant and --agent.
    """
    from super_advanced_agents.cli.importing.exports import ExportImporter, is_export
    from super_advanced_agents.cli.importing.files import find_inputs
    from super_advanced_agents.cli.importing.importer import Importer, Summary

    inputs = list(find_inputs(paths, format_))
    if not inputs:
        raise InvalidInputError(
            "there are no files to import", field="paths", hint="known endings: .jsonl .ndjson .md .markdown .txt .text"
        )
    exports = [input_ for input_ in inputs if input_.format in (None, "jsonl") and is_export(input_)]
    others = [input_ for input_ in inputs if input_ not in exports]
    if others and (tenant or from_tenant):
        raise InvalidInputError(
            "other files than exports are imported for the default tenant only",
            field="--tenant",
            hint="leave --tenant out, or import them through a server with a key of that tenant",
        )
    summary = Summary()
    with _print_summary_at_end(summary, as_json=as_json):
        if exports:
            with _progress(exports) as (on_bytes, on_rejected):
                ExportImporter(
                    data_dir, models_dir, namespace=agent, tenant=tenant, from_tenant=from_tenant,
                    reembed=reembed, strict=strict, summary=summary,
                    on_bytes=on_bytes, on_rejected=on_rejected,
                ).run(exports)  # fmt: skip
        if others:
            with (
                open_agent(data_dir, models_dir, agent or AGENT, embeds=True) as llm_agent,
                _progress(others) as (on_bytes, on_rejected),
            ):
                Importer(
                    llm_agent, memory_type=memory_type, strict=strict, summary=summary,
                    on_bytes=on_bytes, on_rejected=on_rejected,
                ).run(others)  # fmt: skip
    if summary.failed:
        raise typer.Exit(FAILED)


@contextmanager
def _progress(inputs: list[Input]) -> Iterator[tuple[Callable[[int], None], Callable[[RejectedLine], None]]]:
    with bar(unit="bytes") as progress:
        task = (
            progress.add_task("importing", total=sum(input_.size_bytes for input_ in inputs) or None)
            if progress
            else None
        )

        def on_bytes(size: int) -> None:
            if progress is not None and task is not None:
                progress.advance(task, size)

        def on_rejected(rejected: RejectedLine) -> None:
            message = without_controls(f"{rejected.location}: {rejected.reason}")
            progress.console.print(message, markup=False, highlight=False) if progress else print_note(message)

        yield on_bytes, on_rejected


@contextmanager
def _print_summary_at_end(summary: Summary, *, as_json: bool) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _print_summary(summary, as_json=as_json, complete=False)
        print_note("Interrupted; the stored memories stay. The same command again stores the rest.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        _print_summary(summary, as_json=as_json, complete=False)
        raise
    _print_summary(summary, as_json=as_json, complete=True)


def _print_summary(summary: Summary, *, as_json: bool, complete: bool) -> None:
    if as_json:
        print_json(
            {
                "stored": summary.stored,
                "known": summary.known,
                "failed": summary.failed,
                "agents": summary.agents,
                "collections": summary.collections,
                "left_out": dict(summary.left_out),
                "files": summary.files,
                "complete": complete,
                "errors": [
                    {"at": str(rejected.location), "why": rejected.reason} for rejected in summary.rejected_lines
                ],
            }
        )
        return
    known = f", {summary.known} were stored before" if summary.known else ""
    failed = f", {summary.failed} lines could not be imported" if summary.failed else ""
    print_result(f"Stored {summary.stored} memories from {summary.files} files{known}{failed}.")
    if summary.agents or summary.collections:
        print_result(f"Stored the settings of {summary.agents} agents and {summary.collections} collections.")
    if summary.left_out:
        print_note("Left out: " + ", ".join(f"{count} {why}" for why, count in sorted(summary.left_out.items())) + ".")
    for source in summary.untold:
        print_note(f"{source} is of an older version, which did not tell tenants: all of it went to one tenant.")


@report_errors
def export(
    *,
    file: Annotated[Path | None, typer.Argument(help="The file to write; standard output if '-' or not given.")] = None,
    format_: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option("--format", help="The format; by the file's ending if not given, else jsonl."),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="Without vectors, an import embeds the texts again.")
    ] = True,
    where: WhereText = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="The tenant whose data is written; all tenants if not given.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
    agent: AnyAgent = None,
    as_json: AsJson = False,
) -> None:
    """Write memories, collections and settings to a JSON lines or Parquet file for `saa import`.

    A server may use the data folder meanwhile. With --agent, only the memories of that agent are written. API keys are
    never written.
    """
    from super_advanced_agents.tenancy.data_folder.exporting import export_data_folder
    from super_advanced_agents.tenancy.settings import Settings

    filter_ = parse_json_object(where, "--where")
    to_file = None if file is None or str(file) == "-" else file
    if to_file is None and format_ == "parquet":
        raise InvalidInputError(
            "Parquet cannot be written to standard output", field="file", hint="give the name of a file"
        )
    with bar(unit="memories") as progress:
        task = progress.add_task("exporting", total=None) if progress else None

        def on_records(exported: int) -> None:
            if progress is not None and task is not None:
                progress.update(task, completed=exported)

        done = export_data_folder(
            Settings.load(data_dir=data_dir),
            sys.stdout.buffer if to_file is None else to_file,
            file_format=format_,
            tenant=tenant,
            namespace=agent,
            where=filter_,
            vectors=vectors,
            on_records=on_records,
        )
        sys.stdout.flush()
    if to_file is not None and as_json:
        counts = asdict(done)
        print_json({"exported": counts.pop("records"), "path": str(to_file), **counts})
    elif to_file is not None:
        print_result(f"Exported {done.records} to {to_file}.")
    if done.without_vectors:
        print_note(f"{done.without_vectors} collections were left out: they cannot be imported without vectors.")
    if done.damaged:
        print_note(f"{done.damaged} damaged collections or rows of the catalog were left out; see `saa doctor`.")
        raise typer.Exit(FAILED)
