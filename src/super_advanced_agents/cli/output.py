"""Output of commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, ParamSpec, TextIO, TypeVar

import typer

from super_advanced_agents.errors import ConfigurationError, InvalidInputError, SuperAdvancedAgentsError

P = ParamSpec("P")
R = TypeVar("R")

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def open_missing_streams() -> None:
    """Open `/dev/null` in place of the standard streams that the caller has closed.

    Else the next file that is opened, such as a database, would be written to as standard output.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def print_result(text: str = "", *, end: str = "\n") -> None:
    """Print a human-readable result to standard output.

    Raises:
        SuperAdvancedAgentsError: it cannot be written, as on a full disk.
        BrokenPipeError: its reader is gone.
    """
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        _discard_output()
        raise SuperAdvancedAgentsError(
            f"standard output cannot be written: {exc.strerror}", hint="check where it goes"
        ) from exc


def _discard_output() -> None:
    # What is still in the buffer would fail once more when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_note(text: str) -> None:
    """Print a message to standard error, since it is not part of the command's result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(result: Mapping[str, object]) -> None:
    """Print a result as one line of JSON to standard output."""
    print_result(json.dumps(result, ensure_ascii=not _writes_unicode(sys.stdout)))


def substitute_unencodable() -> None:
    """Write a question mark for each character that standard output or error cannot encode.

    Pipes of Windows and the C locale know few characters.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _writes_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().startswith("utf")


def without_controls(text: str) -> str:
    """Return a text with its control characters replaced, except line feeds and tabs.

    Control characters could disturb the terminal.
    """
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def one_line(text: str, max_chars: int = 100) -> str:
    """Return a text as one line, shortened to `max_chars` with an ellipsis if it is longer."""
    line = " ".join(without_controls(text).split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that it prints errors with a hint and exits with a code.

    The exit code is 1 when the work failed, 2 when arguments or settings are wrong, 130 when Ctrl-C was pressed.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json", False))
        try:
            return command(*args, **kwargs)
        except (InvalidInputError, ConfigurationError) as exc:
            exit_with_error(exc, as_json=as_json, code=WRONG_USAGE)
        except SuperAdvancedAgentsError as exc:
            exit_with_error(exc, as_json=as_json, code=FAILED)
        except BrokenPipeError:  # `saa export | head`: the reader has closed the pipe
            _discard_output()
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            print_note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None

    return run


def exit_with_error(error: SuperAdvancedAgentsError, *, as_json: bool, code: int) -> NoReturn:
    """Print an error and its hint to standard error, and exit with `code`."""
    if as_json:
        print_error_json(type(error).__name__, error.message, hint=error.hint, said=error.said)
    else:
        said = f': "{error.said}"' if error.said else ""
        print_note(f"Error: {without_controls(error.message + said)}.")
        if error.hint:
            print_note(f"Hint: {without_controls(error.hint)}.")
    raise typer.Exit(code) from None


def print_error_json(kind: str, message: str, *, hint: str | None, said: str | None = None) -> None:
    """Print an error as one line of JSON to standard error.

    Args:
        kind: the name of the error's class.
        message: the error's message.
        hint: the next step to take.
        said: the words of another server that the error is about.
    """
    members: dict[str, object] = {"type": kind, "message": message, "hint": hint}
    if said:
        members["said"] = said
    print_note(json.dumps({"error": members}, ensure_ascii=not _writes_unicode(sys.stderr)))
