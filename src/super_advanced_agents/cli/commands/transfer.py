"""`saa import` and `saa export`: many memories in, all of them out."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from super_advanced_agents.cli.inputs import given_object
from super_advanced_agents.cli.options import AGENT, DATA_DIR, AgentName, AsJson, DataDir, ModelsDir, WhereText
from super_advanced_agents.cli.output import FAILED, INTERRUPTED, emit, note, reported, say, shown
from super_advanced_agents.cli.session import bar, opened
from super_advanced_agents.errors import InvalidInputError, StoreError, StoreFullError

if TYPE_CHECKING:
    from super_advanced_agents.cli.importing.entries import Trouble
    from super_advanced_agents.cli.importing.importer import Summary
    from super_advanced_agents.types import Record

_PAGE = 500


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
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be imported.")] = False,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Remember files: JSON lines, plain text and Markdown. Importing the same again changes nothing."""
    from super_advanced_agents.cli.importing.files import find_inputs
    from super_advanced_agents.cli.importing.importer import Importer

    inputs = list(find_inputs(paths, format_))
    if not inputs:
        raise InvalidInputError(
            "there are no files to import", field="paths", hint="known endings: .jsonl .ndjson .md .markdown .txt .text"
        )
    with opened(data_dir, models_dir, agent, embeds=True) as mind, bar(unit="bytes") as progress:
        task = (
            progress.add_task("importing", total=sum(each.size_bytes for each in inputs) or None) if progress else None
        )

        def on_bytes(size: int) -> None:
            if progress is not None and task is not None:
                progress.advance(task, size)

        def on_trouble(trouble: Trouble) -> None:
            told = shown(f"{trouble.place}: {trouble.why}")
            progress.console.print(told, markup=False, highlight=False) if progress else note(told)

        importer = Importer(mind, memory_type=memory_type, strict=strict, on_bytes=on_bytes, on_trouble=on_trouble)
        interrupted = False
        try:
            importer.run(inputs)
        except KeyboardInterrupt:
            interrupted = True
        except BaseException:
            _tell(importer.summary, as_json=as_json, whole=False)
            raise
    _tell(importer.summary, as_json=as_json, whole=not interrupted)
    if interrupted:
        note("Interrupted; what is stored stays. The same command again stores the rest.")
        raise typer.Exit(INTERRUPTED)
    if importer.summary.failed:
        raise typer.Exit(FAILED)


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
    where: WhereText = None,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Write memories as JSON lines, which `saa import` restores."""
    wanted = given_object(where, "--where")
    to_file = None if file is None or str(file) == "-" else file
    exported = without_text = 0
    with opened(data_dir, models_dir, agent) as mind, _output(to_file) as out:
        after: str | None = None
        while records := mind.scan(wanted, after=after, limit=_PAGE):
            for record in records:
                if record.text is None:
                    without_text += 1
                    continue
                out.write(json.dumps(_line(record), ensure_ascii=False) + "\n")
                exported += 1
            after = records[-1].uid
        out.flush()
    if without_text:
        note(f"{without_text} vectors without text were left out.")
    if to_file is not None:
        emit({"exported": exported, "path": str(to_file)}) if as_json else say(f"Exported {exported} to {to_file}.")


def _line(record: Record) -> dict[str, object]:
    own = {"text", "type"} if record.session is None else {"text", "type", "session"}
    extra = {name: value for name, value in record.metadata.items() if name not in own}
    line: dict[str, object] = {"uid": record.uid, "text": record.text, "source": record.source}
    if record.session is not None:
        line["session"] = record.session
    if "type" in record.metadata:
        line["memory_type"] = record.metadata["type"]
    if extra:
        line["extra"] = extra
    if record.expires_at is not None:
        line["expires_at"] = record.expires_at
    return line


@contextmanager
def _output(file: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if file is None:
        yield sys.stdout
        return
    temporary = file.with_name(f".{file.name}.part")
    try:
        with temporary.open("w", encoding="utf-8") as out:
            yield out
        temporary.replace(file)
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFullError(f"no room on the disk for {str(file)!r}", hint="free some, then try again") from exc
        raise StoreError(f"cannot write {str(file)!r}: {exc.strerror}", hint="choose another file") from exc
    finally:
        temporary.unlink(missing_ok=True)
