"""Command inputs: text from an argument, a file or standard input, and JSON in options."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from super_advanced_agents.errors import InvalidInputError

if TYPE_CHECKING:  # importing it imports NumPy
    from super_advanced_agents.types import JSONValue

_MAX_BYTES = 1 << 20


def read_text_input(argument: str | None, file: Path | None, *, name: str) -> str:
    """Return a command's input text from its argument, its `--file` or standard input.

    Args:
        argument: the text itself; `-` reads standard input.
        file: the file to read.
        name: the name of the text in error messages.

    Raises:
        InvalidInputError: there is no text, both sources are given, or the content is not UTF-8.
    """
    if file is not None:
        if argument is not None:
            raise InvalidInputError(
                f"the {name} is given twice", field=name, hint="give an argument or --file, not both"
            )
        return _decode(_read_file(file), str(file))
    if argument is not None and argument != "-":
        return argument
    if argument is None and sys.stdin.isatty():
        raise InvalidInputError(
            f"there is no {name}", field=name, hint="give it as an argument, with --file, or pipe it in: echo ... | saa"
        )
    return _decode(sys.stdin.buffer.read(_MAX_BYTES), "standard input").strip()


def parse_json_object(option: str | None, name: str) -> dict[str, JSONValue] | None:
    """Parse the text of a command-line option as a JSON object; return None if it is None.

    Raises:
        InvalidInputError: the value is not a JSON object.
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
            return opened.read(_MAX_BYTES)
    except OSError as exc:
        raise InvalidInputError(f"cannot read {str(file)!r}: {exc.strerror}", field="file") from exc


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidInputError(
            f"{name} is not UTF-8 at byte {exc.start}", hint="convert it, for example with iconv"
        ) from exc
