"""The commands `saa get` and `saa edit`: show one memory, or change parts of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from super_advanced_agents.cli.inputs import parse_json_object, read_text_input
from super_advanced_agents.cli.options import AGENT, AgentName, AsJson, DataDir, ModelsDir, ServerURL
from super_advanced_agents.cli.output import print_json, print_result, report_errors
from super_advanced_agents.cli.recording import record as record_command
from super_advanced_agents.cli.session import open_agent, open_memories
from super_advanced_agents.errors import InvalidInputError, StoreError

Uid = Annotated[str, typer.Argument(help="The uid of the memory.", show_default=False)]


@report_errors
def get(
    *,
    uid: Uid,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Print one memory (a stored text) with its metadata."""
    from super_advanced_agents.cli.formatting import print_record, record_json

    del models_dir  # every command accepts the option; this one needs no model
    with open_memories(data_dir, agent, url=url) as memories:
        record = memories.get(uid)
    if record is None:
        _refuse_unknown(uid)
    print_json(record_json(record)) if as_json else print_record(record)


@report_errors
def edit(
    *,
    uid: Uid,
    text: Annotated[
        str | None, typer.Argument(help="The new text, which is embedded again; '-' is standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the new text from this file.")] = None,
    memory_type: Annotated[str | None, typer.Option("--type", help="The new label.")] = None,
    extra: Annotated[
        str | None, typer.Option("--extra", help="Changes of the metadata, a JSON object; null removes a key.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The new source; '' removes it.")] = None,
    expires_in_s: Annotated[
        float | None, typer.Option("--expires-in-s", help="Seconds from now until the memory expires.")
    ] = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="The memory no longer expires.")] = False,
    priority: Annotated[float | None, typer.Option("--priority", help="The new importance, 0 to 1.")] = None,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Change the given parts of a memory (a stored text); all other parts stay."""
    new_text = None if text is None and file is None else read_text_input(text, file, name="text")
    changes = parse_json_object(extra, "--extra")
    if never_expires and expires_in_s is not None:
        raise InvalidInputError("--never-expires comes without --expires-in-s", field="--never-expires")
    keeps_expiry = expires_in_s is None and not never_expires
    if source is None and keeps_expiry and all(each is None for each in (new_text, changes, memory_type, priority)):
        raise InvalidInputError(
            "nothing is to be changed", field="text", hint="give a text, or an option such as --type"
        )
    with open_agent(data_dir, models_dir, agent, url=url, embeds=new_text is not None) as llm_agent:
        known = llm_agent.update_memory(
            uid,
            text=new_text,
            memory_type=memory_type,
            extra=changes,
            source=... if source is None else source or None,
            expires_in_s=... if keeps_expiry else expires_in_s,
            priority=... if priority is None else priority,
        )
    if not known:
        _refuse_unknown(uid)
    if url is None:
        record_command(data_dir, "updateMemory", target=agent, items=1)
    print_json({"uid": uid, "changed": True}) if as_json else print_result(f"Changed {uid}.")


def _refuse_unknown(uid: str) -> NoReturn:
    raise StoreError(f"there is no memory with the uid {uid[:64]!r}", hint="list the known ones with: saa list")
