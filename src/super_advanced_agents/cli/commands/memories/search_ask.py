"""The commands `saa search` and `saa ask`: find stored texts, or answer questions from them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from super_advanced_agents.cli.inputs import parse_json_object, read_text_input
from super_advanced_agents.cli.options import (
    AGENT,
    AgentName,
    AsJson,
    DataDir,
    Instructions,
    MinSimilarity,
    ModelsDir,
    ServerURL,
    TopK,
    WhereText,
)
from super_advanced_agents.cli.output import (
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)
from super_advanced_agents.cli.session import fetch_language_model, open_agent, open_local_agent, open_remote_agent

if TYPE_CHECKING:
    from super_advanced_agents.agents.answers import AskOptions
    from super_advanced_agents.types import AnswerEvent


@report_errors
def search(
    *,
    query: Annotated[
        str | None, typer.Argument(help="The text to search for; standard input if '-' or not given.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Search for the text of this file.")] = None,
    top_k: TopK = 5,
    mode: Annotated[
        Literal["hybrid", "vector", "keyword"], typer.Option("--mode", help="The kind of search.")
    ] = "hybrid",
    where: WhereText = None,
    memory_type: Annotated[str | None, typer.Option("--type", help="Only memories with this label.")] = None,
    min_similarity: MinSimilarity = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the parts of each score.")] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Print the stored texts (memories) that match a query best, by meaning and keywords."""
    from super_advanced_agents.cli.formatting import match_json, print_matches

    query_text = read_text_input(query, file, name="query")
    filter_ = parse_json_object(where, "--where")
    with open_agent(data_dir, models_dir, agent, url=url, embeds=True) as llm_agent:
        matches = llm_agent.search_text(
            query_text,
            top_k,
            memory_type,
            where=filter_,
            mode=mode,
            min_similarity=min_similarity,
            explain=explain,
        )
    if as_json:
        print_json({"results": [match_json(match) for match in matches]})
        return
    print_matches(matches)
    if not matches:
        print_note("No memories were found. List all of them with: saa list")


@report_errors
def ask(
    *,
    question: Annotated[str | None, typer.Argument(help="The question; standard input if '-' or not given.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the question from this file.")] = None,
    top_k: TopK = 5,
    where: WhereText = None,
    min_similarity: MinSimilarity = None,
    instructions: Instructions = None,
    no_llm: Annotated[
        bool, typer.Option("--no-llm", help="Quote the memories that match best, without a language model.")
    ] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from stored texts (memories), after listing those that it is made from."""
    from super_advanced_agents.cli.formatting import answer_json, print_sources

    question_text = read_text_input(question, file, name="question")
    filter_ = parse_json_object(where, "--where")
    if url is not None:
        options: AskOptions = {
            "where": filter_, "min_similarity": min_similarity, "instructions": instructions, "llm": not no_llm
        }  # fmt: skip
        _ask_server(url, agent, question_text, top_k, options, as_json=as_json)
        return
    with open_local_agent(data_dir, models_dir, agent, embeds=True) as llm_agent:
        sources = llm_agent.search_text(question_text, top_k, where=filter_, min_similarity=min_similarity)
        if not as_json:
            print_sources(sources)  # before the language model is loaded
        llm = not no_llm and fetch_language_model(models_dir, advise=not as_json)
        if as_json:
            answer = llm_agent.ask(question_text, sources=sources, instructions=instructions, llm=llm)
            print_json(answer_json(answer))
            return
        with closing(
            llm_agent.ask_events(question_text, sources=sources, instructions=instructions, llm=llm)
        ) as events:
            quoted = _print_answer(event for event in events if event.sources is None)
        if quoted and llm:
            print_note("The language model cannot be loaded. Choose another one with: saa setup")


def _ask_server(url: str, agent: str, question: str, top_k: int, options: AskOptions, *, as_json: bool) -> None:
    from super_advanced_agents.cli.formatting import answer_json

    with open_remote_agent(url, agent) as remote:
        if as_json:
            print_json(answer_json(remote.ask(question, top_k, **options)))
            return
        with closing(remote.ask_events(question, top_k, **options)) as events:
            _print_answer(events)


def _print_answer(events: Iterable[AnswerEvent]) -> bool:
    from super_advanced_agents.cli.formatting import not_grounded, print_sources

    quoted = False
    for event in events:
        if event.sources is not None:
            print_sources(event.sources)
        elif event.text is not None:
            print_result(without_controls(event.text), end="")
        elif event.done is not None:
            quoted = bool(event.quoted)
            print_result()
            if event.unsupported:
                print_result(f"\n{not_grounded(event.unsupported)}")
    return quoted
