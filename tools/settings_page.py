"""The page of all settings, made from the fields and the docstring of the class `Settings`."""

from __future__ import annotations

import inspect
import re

from pydantic.fields import FieldInfo

from super_advanced_agents.tenancy.settings import PREFIX, Settings

_HEAD = """# Settings

Every command, server and worker reads these environment variables; a command's own option goes before its variable. A
value that is not valid ends the program with one line that names the variable. "None" is a variable that is not set.
Lists are separated by commas or line ends. `SAA_..._FILE` with the path of a file sets a secret one
([secrets](deploy/secrets.md)). `make contracts` writes this page.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """Return the page as Markdown, with a row for each setting in the order of the class."""
    meanings = _meanings()
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field)} | {meanings[name].replace('|', chr(92) + '|')} |"
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _meanings() -> dict[str, str]:
    attributes = (inspect.getdoc(Settings) or "").partition("Attributes:\n")[2]
    entries = re.split(r"^    (\w+): ", attributes, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        value = ",".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "" if value is None or value == "" else f"`{value}`"
