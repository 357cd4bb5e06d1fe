"""The command `saa export`, which writes memories to a file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.inputs import parse_json_object
from super_advanced_agents.cli.options import AnyAgent, AsJson, DataDir, EncryptTo, ServerURL, WhereText
from super_advanced_agents.cli.output import (
    FAILED,
    print_json,
    print_note,
    print_result,
    report_errors,
)
from super_advanced_agents.cli.recording import record as record_command
from super_advanced_agents.cli.session import server_key
from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.data_folder.exporting import Exported


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
    data_dir: DataDir,
    agent: AnyAgent = None,
    url: ServerURL = None,
    encrypt_to: EncryptTo = None,
    as_json: AsJson = False,
) -> None:
    """Write memories, collections and settings to a JSON lines or Parquet file for `saa import`.

    A server may use the data folder meanwhile. With --agent, only the memories of that agent are written. API keys are
    never written. At a server (--url), what the key's tenant has is written.
    """
    filter_ = parse_json_object(where, "--where")
    to_file = None if file is None or str(file) == "-" else file
    _check_target(to_file, format_, encrypted=bool(encrypt_to))
    if url is not None and tenant is not None:
        raise InvalidInputError("the key names the tenant at a server", field="--tenant", hint="leave --tenant out")
    with bar(unit="memories") as progress:
        task = progress.add_task("exporting", total=None) if progress else None

        def on_records(exported: int) -> None:
            if progress is not None and task is not None:
                progress.update(task, completed=exported)

        def write(target: Path | IO[bytes]) -> Exported:
            if url is not None:
                from super_advanced_agents.cli.at_server.exporting import export_server

                return export_server(
                    url, server_key(), target, file_format=format_, agent=agent, where=filter_, vectors=vectors,
                    on_records=on_records,
                )  # fmt: skip
            from super_advanced_agents.tenancy.data_folder.exporting import export_data_folder
            from super_advanced_agents.tenancy.settings import Settings

            return export_data_folder(
                Settings.load(data_dir=data_dir), target, file_format=format_, tenant=tenant, namespace=agent,
                where=filter_, vectors=vectors, on_records=on_records,
            )  # fmt: skip

        target = sys.stdout.buffer if to_file is None else to_file
        if encrypt_to:
            from super_advanced_agents.cli.encryption import write_encrypted

            done = write_encrypted(target, encrypt_to, write)
        else:
            done = write(target)
        sys.stdout.flush()
    if url is None:
        record_command(data_dir, "export", target=agent or "", tenant=tenant or "", items=done.records, path=to_file)
    _report(done, to_file, as_json=as_json)


def _check_target(file: Path | None, format_: str | None, *, encrypted: bool) -> None:
    if file is None and format_ == "parquet":
        raise InvalidInputError(
            "Parquet cannot be written to standard output", field="file", hint="give the name of a file"
        )
    if encrypted and format_ == "parquet":
        raise InvalidInputError("Parquet is not encrypted", field="--format", hint="leave --format out")


def _report(done: Exported, file: Path | None, *, as_json: bool) -> None:
    if file is not None and as_json:
        counts = asdict(done)
        print_json({"exported": counts.pop("records"), "path": str(file), **counts})
    elif file is not None:
        print_result(f"Exported {done.records} records to {file}.")
    if done.without_vectors:
        print_note(f"{done.without_vectors} collections were left out: they cannot be imported without vectors.")
    if done.damaged:
        print_note(f"{done.damaged} damaged collections or rows of the catalog were left out; see `saa doctor`.")
        raise typer.Exit(FAILED)
