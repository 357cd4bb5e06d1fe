"""`saa search` and `saa ask`: what is remembered, and what follows from it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from super_advanced_agents.cli.inputs import given_object, given_text
from super_advanced_agents.cli.options import AGENT, DATA_DIR, AgentName, AsJson, DataDir, ModelsDir, TopK, WhereText
from super_advanced_agents.cli.output import emit, note, one_line, reported, say, shown
from super_advanced_agents.cli.session import opened


@reported
def search(
    *,
    query: Annotated[str | None, typer.Argument(help="What to look for; standard input if not given, or '-'.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Look for what is like this file's text.")] = None,
    top_k: TopK = 5,
    mode: Annotated[Literal["hybrid", "vector", "keyword"], typer.Option("--mode", help="How to look.")] = "hybrid",
    where: WhereText = None,
    memory_type: Annotated[str | None, typer.Option("--type", help="Only memories with this label.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell what each score is made of.")] = False,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Find the memories that are most like a text, best first."""
    from super_advanced_agents.cli.shapes import match_json, say_matches

    wanted = given_text(query, file, what="query")
    chosen = given_object(where, "--where")
    with opened(data_dir, models_dir, agent, embeds=True) as mind:
        matches = mind.search_text(wanted, top_k, memory_type, where=chosen, mode=mode, explain=explain)
    if as_json:
        emit({"results": [match_json(match) for match in matches]})
        return
    say_matches(matches)
    if not matches:
        note("Nothing was found. See what is remembered with: saa list")


@reported
def ask(
    *,
    question: Annotated[str | None, typer.Argument(help="The question; standard input if not given, or '-'.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the question from this file.")] = None,
    top_k: TopK = 5,
    data_dir: DataDir = DATA_DIR,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    as_json: AsJson = False,
) -> None:
    """Answer a question from memories, and list them."""
    from super_advanced_agents.cli.shapes import match_json

    wanted = given_text(question, file, what="question")
    with opened(data_dir, models_dir, agent, embeds=True, answers=True) as mind:
        if as_json:
            answer = mind.ask(wanted, top_k)
            emit({"text": answer.text, "sources": [match_json(match) for match in answer.sources]})
            return
        sources = mind.search_text(wanted, top_k)
        with closing(mind.stream_answer(wanted, top_k, sources=sources)) as pieces:
            for piece in pieces:
                say(shown(piece), end="")
        say()
        if sources:
            say("\nSources:")
        for rank, match in enumerate(sources, start=1):
            say(f"  [{rank}] {one_line(str(match.metadata.get('text', '')))}")
