"""`saa import` and `saa export`: many memories in, all of them out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.inputs import given_object
from super_advanced_agents.cli.options import AGENT, DATA_DIR, AnyAgent, AsJson, DataDir, ModelsDir, WhereText
from super_advanced_agents.cli.output import FAILED, INTERRUPTED, emit, note, reported, say, shown
from super_advanced_agents.cli.session import opened, opened_store
from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:
    from super_advanced_agents.cli.importing.entries import Trouble
    from super_advanced_agents.cli.importing.files import Input
    from super_advanced_agents.cli.importing.importer import Summary


@reported
def import_(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; '-' is standard input.")],
    format_: Annotated[
        Literal["jsonl", "markdown", "text"] | None,
        typer.Option("--format", help="What the files are; told by their endings if not given."),
    ] = None,
    memory_type: Annotated[
        str, typer.Option("--type", help="The label of memories from plain text and Markdown.")
    ] = "document",
    reembed: Annotated[
        bool, typer.Option("--reembed", help="Embed the texts of an export anew, with this store's model.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be imported.")] = False,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AnyAgent = None,
    as_json: AsJson = False,
) -> None:
    """Remember files: exports, JSON lines, plain text and Markdown. Importing the same again changes nothing.

    What `saa export` wrote is restored as it was, each memory to the agent that had it unless --agent says otherwise.
    """
    from super_advanced_agents.cli.importing.exports import ExportImporter, is_export
    from super_advanced_agents.cli.importing.files import find_inputs
    from super_advanced_agents.cli.importing.importer import Importer, Summary

    inputs = list(find_inputs(paths, format_))
    if not inputs:
        raise InvalidInputError(
            "there are no files to import", field="paths", hint="known endings: .jsonl .ndjson .md .markdown .txt .text"
        )
    exports = [given for given in inputs if given.format in (None, "jsonl") and is_export(given)]
    others = [given for given in inputs if given not in exports]
    summary = Summary()
    with _told(summary, as_json=as_json):
        if exports:
            with _reports(exports) as (on_bytes, on_trouble):
                ExportImporter(
                    data_dir, models_dir, namespace=agent, reembed=reembed, strict=strict, summary=summary,
                    on_bytes=on_bytes, on_trouble=on_trouble,
                ).run(exports)  # fmt: skip
        if others:
            with (
                opened(data_dir, models_dir, agent or AGENT, embeds=True) as mind,
                _reports(others) as (on_bytes, on_trouble),
            ):
                Importer(
                    mind, memory_type=memory_type, strict=strict, summary=summary,
                    on_bytes=on_bytes, on_trouble=on_trouble,
                ).run(others)  # fmt: skip
    if summary.failed:
        raise typer.Exit(FAILED)


@contextmanager
def _reports(inputs: list[Input]) -> Iterator[tuple[Callable[[int], None], Callable[[Trouble], None]]]:
    """How far it has come, as a bar where someone watches, and what went wrong."""
    with bar(unit="bytes") as progress:
        task = (
            progress.add_task("importing", total=sum(each.size_bytes for each in inputs) or None) if progress else None
        )

        def on_bytes(size: int) -> None:
            if progress is not None and task is not None:
                progress.advance(task, size)

        def on_trouble(trouble: Trouble) -> None:
            told = shown(f"{trouble.place}: {trouble.why}")
            progress.console.print(told, markup=False, highlight=False) if progress else note(told)

        yield on_bytes, on_trouble


@contextmanager
def _told(summary: Summary, *, as_json: bool) -> Iterator[None]:
    """Say in the end what was imported, also when it was interrupted or has failed."""
    try:
        yield
    except KeyboardInterrupt:
        _tell(summary, as_json=as_json, whole=False)
        note("Interrupted; what is stored stays. The same command again stores the rest.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        _tell(summary, as_json=as_json, whole=False)
        raise
    _tell(summary, as_json=as_json, whole=True)


def _tell(summary: Summary, *, as_json: bool, whole: bool) -> None:
    if as_json:
        emit(
            {
                "stored": summary.stored,
                "known": summary.known,
                "failed": summary.failed,
                "files": summary.files,
                "complete": whole,
                "errors": [{"at": str(trouble.place), "why": trouble.why} for trouble in summary.troubles],
            }
        )
        return
    known = f", {summary.known} were known" if summary.known else ""
    failed = f", {summary.failed} lines could not be imported" if summary.failed else ""
    say(f"Stored {summary.stored} memories from {summary.files} files{known}{failed}.")


@reported
def export(
    *,
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if not given, or '-'.")] = None,
    format_: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option("--format", help="Told by the file's ending if not given, else jsonl."),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="Without them, an import must embed the texts again.")
    ] = True,
    where: WhereText = None,
    data_dir: DataDir = DATA_DIR,
    agent: AnyAgent = None,
    as_json: AsJson = False,
) -> None:
    """Write memories with everything they have to a file, which `saa import` restores in any store."""
    from super_advanced_agents.stores.transfer import export_records

    wanted = given_object(where, "--where")
    to_file = None if file is None or str(file) == "-" else file
    if to_file is None and format_ == "parquet":
        raise InvalidInputError("Parquet is not for standard output", field="file", hint="give a file's name")
    with opened_store(data_dir) as store, bar(unit="memories") as progress:
        task = progress.add_task("exporting", total=store.count(wanted, namespace=agent)) if progress else None

        def on_records(exported: int) -> None:
            if progress is not None and task is not None:
                progress.update(task, completed=exported)

        exported = export_records(
            store,
            sys.stdout.buffer if to_file is None else to_file,
            file_format=format_,
            namespace=agent,
            where=wanted,
            vectors=vectors,
            on_records=on_records,
        )
        sys.stdout.flush()
    if to_file is not None:
        emit({"exported": exported, "path": str(to_file)}) if as_json else say(f"Exported {exported} to {to_file}.")
