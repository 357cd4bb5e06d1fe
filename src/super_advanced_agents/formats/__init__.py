"""Parsers of the files that people have: notes, tables, chat exports; they store nothing.

`detect` recognizes a file by its content and returns its `FileFormat`, whose `read` yields `Part`s one after the other.
What is stored, and what an import does with the parts of an earlier one, does not belong here.
"""

from super_advanced_agents.formats.content import Content, Line
from super_advanced_agents.formats.parts import (
    Item,
    NotUnderstoodError,
    Part,
    PassedOver,
    Problem,
    Scope,
    UnreadableError,
)
from super_advanced_agents.formats.registry import FORMAT_NAMES, UNDERSTOOD, FileFormat, detect, format_named

__all__ = [
    "FORMAT_NAMES",
    "UNDERSTOOD",
    "Content",
    "FileFormat",
    "Item",
    "Line",
    "NotUnderstoodError",
    "Part",
    "PassedOver",
    "Problem",
    "Scope",
    "UnreadableError",
    "detect",
    "format_named",
]
