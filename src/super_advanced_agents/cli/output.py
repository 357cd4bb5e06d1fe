"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, ParamSpec, TypeVar

import typer

from super_advanced_agents.errors import ConfigurationError, InvalidInputError, SuperAdvancedAgentsError

P = ParamSpec("P")
R = TypeVar("R")

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a result for people."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def note(text: str) -> None:
    """Print something about the work, beside its result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def emit(result: Mapping[str, object]) -> None:
    """Print a result for programs: one line of JSON."""
    say(json.dumps(result, ensure_ascii=False))


def shown(text: str) -> str:
    """`text` without characters that would steer the terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


def one_line(text: str, most_chars: int = 100) -> str:
    """The beginning of `text`, on one line."""
    line = " ".join(shown(text).split())
    return line if len(line) <= most_chars else line[: most_chars - 1] + "…"


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Tell the errors of a command in one sentence and a hint, and leave with the exit code they deserve.

    1 when the work failed, 2 when what was asked for is wrong, 130 when it was interrupted.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json", False))
        try:
            return command(*args, **kwargs)
        except (InvalidInputError, ConfigurationError) as exc:
            fail(exc, as_json=as_json, code=WRONG_USAGE)
        except SuperAdvancedAgentsError as exc:
            fail(exc, as_json=as_json, code=FAILED)
        except BrokenPipeError:  # `saa export | head`: whoever read it has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None

    return run


def fail(error: SuperAdvancedAgentsError, *, as_json: bool, code: int) -> NoReturn:
    """Say what is wrong and what to do next, and leave."""
    if as_json:
        told: dict[str, object] = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        note(json.dumps({"error": told}, ensure_ascii=False))
    else:
        note(f"Error: {shown(error.message)}.")
        if error.hint:
            note(f"Hint: {shown(error.hint)}.")
    raise typer.Exit(code) from None
