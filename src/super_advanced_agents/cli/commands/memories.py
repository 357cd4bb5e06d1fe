"""`saa add`, `saa list`, `saa forget`: one memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents.cli.inputs import given_object, given_text
from super_advanced_agents.cli.options import AGENT, DATA_DIR, AgentName, AsJson, DataDir, ModelsDir, WhereText
from super_advanced_agents.cli.output import FAILED, emit, note, one_line, reported, say, shown
from super_advanced_agents.cli.session import opened, opened_memories
from super_advanced_agents.errors import InvalidInputError


@reported
def add(
    *,
    text: Annotated[str | None, typer.Argument(help="What to remember; standard input if not given, or '-'.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Remember this file's text, whole.")] = None,
    memory_type: Annotated[str, typer.Option("--type", help="A label to filter by.")] = "fact",
    uid: Annotated[str | None, typer.Option("--uid", help="Its name; replaces the memory of that name.")] = None,
    extra: Annotated[str | None, typer.Option("--extra", help="Further metadata, a JSON object.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Where it came from.")] = None,
    expires_in_s: Annotated[
        float | None, typer.Option("--expires-in-s", help="Never found again after this many seconds.")
    ] = None,
    priority: Annotated[
        float | None, typer.Option("--priority", help="How much it matters, for searches that weigh it: 0 to 1.")
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Not again what is remembered already; prints the name it has.")
    ] = False,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Remember one text."""
    wanted = given_text(text, file, what="text")
    metadata = given_object(extra, "--extra")
    with opened(data_dir, models_dir, agent, embeds=True) as mind:
        origin = source or (str(file) if file else None)
        stored = mind.add_text_memory(
            wanted,
            memory_type,
            uid,
            metadata,
            expires_in_s=expires_in_s,
            source=origin,
            priority=priority,
            dedupe="exact" if dedupe else None,
        )
    emit({"uids": [stored]}) if as_json else say(stored)


@reported
def list_(
    *,
    where: WhereText = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="How many on one page.")] = 20,
    after: Annotated[str | None, typer.Option("--after", help="The last uid of the page before.")] = None,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """List memories, page by page, in the order of their uids."""
    from super_advanced_agents.cli.shapes import record_json

    del models_dir  # every command takes it; this one needs no model
    wanted = given_object(where, "--where")
    with opened_memories(data_dir, agent) as (store, namespace):
        records = store.scan(wanted, after=after, limit=limit, namespace=namespace)
        total = store.count(wanted, namespace=namespace)
    following = records[-1].uid if len(records) == limit else None
    if as_json:
        emit({"memories": [record_json(record) for record in records], "next": following, "total": total})
        return
    for record in records:
        say(f"{shown(record.uid)}  {one_line(record.text or '(a vector without text)')}")
    if not total:
        note("Nothing is remembered here yet. Begin with: saa add TEXT, or: saa import FOLDER")
    elif following is not None:
        note(f"{len(records)} of {total}. The next page: saa list --after {shown(following)}")


@reported
def forget(
    *,
    uids: Annotated[list[str] | None, typer.Argument(help="Names of memories.")] = None,
    where: WhereText = None,
    everything: Annotated[bool, typer.Option("--all", help="All memories of the agent.")] = False,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Forget memories by name, by filter, or all of them."""
    del models_dir
    chosen = given_object(where, "--where")
    if not uids and chosen is None and not everything:
        raise InvalidInputError("nothing was named", field="uids", hint="give uids, --where, or --all")
    if everything and (uids or chosen is not None):
        raise InvalidInputError("--all comes without uids and without --where", field="--all")
    with opened_memories(data_dir, agent) as (store, namespace):
        forgotten = store.delete(uids or None, where={} if everything else chosen, namespace=namespace)
    emit({"forgotten": forgotten}) if as_json else say(f"Forgot {forgotten}.")
    if uids and chosen is None and forgotten < len(set(uids)):
        if not as_json:
            note(f"Unknown names: {len(set(uids)) - forgotten}. See those that are known with: saa list")
        raise typer.Exit(FAILED)
