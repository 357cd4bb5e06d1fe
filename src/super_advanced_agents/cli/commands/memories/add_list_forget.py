"""The commands `saa add`, `saa list` and `saa forget`: store, list and delete memories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents.cli.inputs import parse_json_object, read_text_input
from super_advanced_agents.cli.options import AGENT, AgentName, AsJson, DataDir, ModelsDir, ServerURL, WhereText
from super_advanced_agents.cli.output import (
    FAILED,
    one_line,
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)
from super_advanced_agents.cli.recording import record as record_command
from super_advanced_agents.cli.session import open_agent, open_memories
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError


@report_errors
def add(
    *,
    text: Annotated[
        str | None, typer.Argument(help="The text to remember; standard input if '-' or not given.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Remember the whole text of this file.")] = None,
    memory_type: Annotated[str, typer.Option("--type", help="A label to filter by.")] = "fact",
    uid: Annotated[str | None, typer.Option("--uid", help="The uid; replaces the memory that has it.")] = None,
    extra: Annotated[str | None, typer.Option("--extra", help="Further metadata, a JSON object.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="The source of the text.")] = None,
    expires_in_s: Annotated[
        float | None, typer.Option("--expires-in-s", help="Seconds until the memory expires.")
    ] = None,
    priority: Annotated[
        float | None, typer.Option("--priority", help="The importance, 0 to 1, for searches that weigh it.")
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Do not store the same text again; print the uid that it has.")
    ] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Store one text as a memory of an agent, and print the memory's id (uid)."""
    memory_text = read_text_input(text, file, name="text")
    metadata = parse_json_object(extra, "--extra")
    checked_text(memory_text, "text", max_bytes=LIMITS.text_bytes)  # a text that is refused creates no folder
    with open_agent(data_dir, models_dir, agent, url=url, writes=True, embeds=True) as llm_agent:
        origin = source or (str(file) if file else None)
        stored_uid = llm_agent.add_text_memory(
            memory_text,
            memory_type,
            uid,
            metadata,
            expires_in_s=expires_in_s,
            source=origin,
            priority=priority,
            dedupe="exact" if dedupe else None,
        )
    if url is None:
        record_command(data_dir, "remember", target=agent, items=1)
    print_json({"uids": [stored_uid]}) if as_json else print_result(stored_uid)


@report_errors
def list_(
    *,
    where: WhereText = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", "-k", min=1, max=1_000, help="The number of memories on a page.")
    ] = 20,
    after: Annotated[str | None, typer.Option("--after", help="The last uid of the previous page.")] = None,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Print one page of an agent's memories (stored texts), sorted by id (uid)."""
    from super_advanced_agents.cli.formatting import record_json

    del models_dir  # every command accepts the option; this one needs no model
    filter_ = parse_json_object(where, "--where")
    with open_memories(data_dir, agent, url=url) as memories:
        records = memories.scan(filter_, after=after, limit=limit)
        total = memories.count(filter_)
    following = records[-1].uid if len(records) == limit else None
    if as_json:
        print_json({"memories": [record_json(record) for record in records], "next": following, "total": total})
        return
    for record in records:
        print_result(f"{without_controls(record.uid)}  {one_line(record.text or '(a vector without text)')}")
    if not total and filter_ is not None:
        print_note("No memory matches the filter. List all of them with: saa list")
    elif not total:
        print_note(
            f"The agent {without_controls(agent)!r} has no memories yet. "
            "Begin with: saa add TEXT, or: saa import FOLDER. "
            "Other agents are listed by: saa agents"
        )
    elif following is not None:
        print_note(f"{len(records)} of {total}. The next page: saa list --after {without_controls(following)}")


@report_errors
def forget(
    *,
    uids: Annotated[list[str] | None, typer.Argument(help="The uids of the memories.")] = None,
    where: WhereText = None,
    everything: Annotated[bool, typer.Option("--all", help="All memories of the agent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --all deletes everything.")] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Delete an agent's memories: those with given ids, those matching a filter, or all.

    With ids (uids) and a filter, only memories that have one of the ids and match the filter are deleted.
    """
    del models_dir
    filter_ = parse_json_object(where, "--where")
    if not uids and filter_ is None and not everything:
        raise InvalidInputError("nothing was named", field="uids", hint="give uids, --where, or --all")
    if everything and (uids or filter_ is not None):
        raise InvalidInputError("--all comes without uids and without --where", field="--all")
    with open_memories(data_dir, agent, url=url) as memories:
        if everything and not yes:
            _confirm(memories.count(), agent)
        forgotten = memories.forget(uids or None, where={} if everything else filter_)
    if url is None:
        record_command(data_dir, "forgetMemories", target=agent, items=forgotten)
    print_json({"forgotten": forgotten}) if as_json else print_result(f"Forgot {forgotten}.")
    if uids and filter_ is None and forgotten < len(set(uids)):
        if not as_json:
            print_note(f"Unknown uids: {len(set(uids)) - forgotten}. List the known ones with: saa list")
        raise typer.Exit(FAILED)


def _confirm(count: int, agent: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidInputError("--all deletes everything, and nobody can be asked", field="--all", hint="add --yes")
    if not typer.confirm(f"Delete all {count} memories of {agent!r}?", err=True):
        print_note("Nothing was deleted.")
        raise typer.Exit(FAILED)
