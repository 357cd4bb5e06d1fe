"""The command `saa chat`: a conversation in the terminal, which is remembered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.inputs import parse_json_object
from super_advanced_agents.cli.options import (
    AGENT,
    AgentName,
    AsJson,
    DataDir,
    Instructions,
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
from super_advanced_agents.cli.session import fetch_language_model, open_agent
from super_advanced_agents.errors import ConfigurationError, SuperAdvancedAgentsError

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.client import RemoteAgent
    from super_advanced_agents.types import AnswerEvent

_PROMPT = "> "


@report_errors
def chat(
    *,
    session: Annotated[str, typer.Option("--session", "-s", help="The name of the conversation to go on with.")] = (
        "default"
    ),
    top_k: TopK = 5,
    where: WhereText = None,
    instructions: Instructions = None,
    no_remember: Annotated[bool, typer.Option("--no-remember", help="Store neither messages nor answers.")] = False,
    no_llm: Annotated[bool, typer.Option("--no-llm", hidden=True)] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    agent: AgentName = AGENT,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Talk with an agent, one message a line; Ctrl-C stops an answer, and Ctrl-D ends."""
    if no_llm:
        raise ConfigurationError(
            "a chat needs a language model", hint='quotes without one: saa ask --no-llm "your question"'
        )
    filter_ = parse_json_object(where, "--where")
    with open_agent(data_dir, models_dir, agent, url=url, writes=not no_remember, embeds=True) as llm_agent:
        if url is None and not fetch_language_model(models_dir, advise=not as_json):
            raise ConfigurationError("a chat needs a language model", hint="choose one with: saa setup")
        for message in _messages():
            options = {"session": session, "remember": not no_remember, "instructions": instructions, "where": filter_}
            try:
                _answer(llm_agent, message, {**options, "top_k": top_k}, as_json=as_json)
            except SuperAdvancedAgentsError as exc:
                if not sys.stdin.isatty():
                    raise
                print_note(f"{exc.message}{f' ({exc.hint})' if exc.hint else ''}")


def _messages() -> Iterator[str]:
    # Lines of standard input; people at a terminal are shown a prompt.
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            print_result(_PROMPT, end="")
        line = sys.stdin.readline()
        if not line:
            if interactive:
                print_result()
            return
        if not line.isspace():
            yield line.strip()


def _answer(agent: AsyncLLMAgent | RemoteAgent, message: str, options: dict[str, object], *, as_json: bool) -> None:
    from super_advanced_agents.cli.formatting import answer_json

    if as_json:
        print_json(answer_json(agent.chat(message, **options)))  # type: ignore[arg-type]  # its own arguments
        return
    with closing(agent.chat_events(message, **options)) as events:  # type: ignore[arg-type]  # as above
        try:
            for event in events:
                _print_event(event)
        except KeyboardInterrupt:
            print_result()
            print_note("Stopped: neither the message nor the answer was remembered.")


def _print_event(event: AnswerEvent) -> None:
    from super_advanced_agents.cli.formatting import not_grounded

    if event.text is not None:
        print_result(without_controls(event.text), end="")
    elif event.done is not None:
        print_result()
        if event.unsupported:
            print_result(not_grounded(event.unsupported))
