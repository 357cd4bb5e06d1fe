"""Front matter of Markdown: the fields between two `---` lines at the beginning of a note.

Fields are the subset of YAML that notes use: texts, numbers, true and false, dates (kept as texts), and lists in
brackets or on lines of their own. Deeper structures are kept as their text. Between two `+++` lines it is TOML.
"""

from __future__ import annotations

import json
import re
import tomllib

from super_advanced_agents.types import JSONValue

_FIELD = re.compile(r"""("[^"]+"|'[^']+'|[\w][\w .\-/()]*+)\s*+:(?:\s+(.*)|)$""")
_ITEM = re.compile(r"\s*-(?:\s+(.*)|)$")
_BLOCK = re.compile(r"([|>])[+-]?\d?\s*(?:#.*)?")
_LISTED = re.compile(r"""\s*(?:"[^"]*"|'[^']*')\s*(?=,|$)|[^,]+""")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
_MAX_LINES = 500
_MAX_CHARS = 2_000


def split_front_matter(lines: list[str]) -> tuple[dict[str, JSONValue], int]:
    """Return the fields of a note's front matter, and the number of lines that it takes.

    A note that only begins with a rule has none: no fields, and no lines.
    """
    first = lines[0].rstrip() if lines else ""
    if first not in {"---", "+++"}:
        return {}, 0
    ends = {"---", "..."} if first == "---" else {"+++"}
    end = next((i for i, line in enumerate(lines[1:_MAX_LINES], 1) if line.rstrip() in ends), 0)
    fields = (_parse if first == "---" else _parse_toml)(lines[1:end]) if end else None
    if fields is None:
        return {}, 0
    return {key: value[:_MAX_CHARS] if isinstance(value, str) else value for key, value in fields.items()}, end + 1


def _parse_toml(lines: list[str]) -> dict[str, JSONValue] | None:
    try:
        values = json.dumps(tomllib.loads("\n".join(lines)), default=lambda time: time.isoformat(), allow_nan=False)
    except (ValueError, RecursionError):
        return None
    fields: dict[str, JSONValue] = json.loads(values)
    return fields


def _parse(lines: list[str]) -> dict[str, JSONValue] | None:
    # None when a line is none of a field, a list's item, a continuation or a comment: this is no front matter.
    fields: dict[str, JSONValue] = {}
    name, joint = "", "\n"
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = None if line[0] in " \t-" else _FIELD.match(line)
        if match:
            name = _unquoted(match[1]) if match[1][0] in "'\"" else match[1].rstrip()
            value = (match[2] or "").strip()
            block = _BLOCK.fullmatch(value)
            joint = " " if block is not None and block[1] == ">" else "\n"
            fields[name] = "" if block is not None else _value(value)
        elif name and (item := _ITEM.match(line)) and _is_list(fields[name]):
            held = fields[name]
            fields[name] = [*(held if isinstance(held, list) else []), _scalar((item[1] or "").strip())]
        elif name and line[0] in " \t":
            fields[name] = _continued(fields[name], line.strip(), joint)
        else:
            return None
    return fields


def _continued(value: JSONValue, text: str, joint: str) -> JSONValue:
    if isinstance(value, list) and value:
        return [*value[:-1], _continued(value[-1], text, " ")]
    return text if value in (None, "", []) else f"{value}{joint}{text}"


def _is_list(value: JSONValue) -> bool:
    return value is None or isinstance(value, list)


def _value(text: str) -> JSONValue:
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item.strip()) for item in _LISTED.findall(text[1:-1]) if item.strip()]
    return _scalar(text)


def _scalar(text: str) -> JSONValue:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return _unquoted(text)
    text = text.partition(" #")[0].rstrip()
    if text in {"", "~", "null"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    try:  # the escapes of YAML that notes use are those of JSON
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]
