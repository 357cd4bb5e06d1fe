"""What commands are given: texts from an argument, a file or standard input, and JSON in options."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:  # it brings numpy along
    from super_advanced_agents.types import JSONValue

_MOST_BYTES = 1 << 20


def given_text(argument: str | None, file: Path | None, *, what: str) -> str:
    """The text of the argument, else of the file, else of standard input (also for the argument `-`).

    Raises:
        InvalidInputError: there is none, both are given, or it is not UTF-8.
    """
    if file is not None:
        if argument is not None:
            raise InvalidInputError(
                f"the {what} is given twice", field=what, hint="give an argument or --file, not both"
            )
        return _decoded(_read_file(file), str(file))
    if argument is not None and argument != "-":
        return argument
    if argument is None and sys.stdin.isatty():
        raise InvalidInputError(
            f"there is no {what}", field=what, hint="give it as an argument, with --file, or pipe it in: echo ... | saa"
        )
    return _decoded(sys.stdin.buffer.read(_MOST_BYTES), "standard input").strip()


def given_object(option: str | None, name: str) -> dict[str, JSONValue] | None:
    """The JSON object of an option, or None.

    Raises:
        InvalidInputError: it is not a JSON object.
    """
    if option is None:
        return None
    try:
        value = json.loads(option)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(
            f"{name} is not JSON", field=name, hint=f"""write it like {name} '{{"type": "fact"}}'"""
        ) from exc
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} must be a JSON object, not {type(value).__name__}", field=name)
    return cast("dict[str, JSONValue]", value)


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES)
    except OSError as exc:
        raise InvalidInputError(f"cannot read {str(file)!r}: {exc.strerror}", field="file") from exc


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidInputError(
            f"{name} is not UTF-8 at byte {exc.start}", hint="convert it, for example with iconv"
        ) from exc
