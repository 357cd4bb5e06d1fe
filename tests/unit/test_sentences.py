"""Docstrings are plain sentences that can be read alone; ruff's D rules hold their form, this file their words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
FILES = sorted(
    path
    for folder in ("src", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not GENERATED.search(path.name)
)
MAX_CHARS = 90
"""A first sentence that is longer is two sentences."""

OPENINGS = ("What", "Who", "Whose", "Whom", "Whether", "How", "Why", "As ", "See ", "The same", "Nothing", "Those")
"""A first sentence that begins so has no verb, or refers to a place that the reader does not see."""

BANNED = (
    "whoever",
    "whatever",
    "is told",
    "are told",
    "was told",
    "tells of",
    "nothing in it is syntax",
    "what is to be done",
    "so many",
    "so long",
    "by name and by",
    "in turns",
    "of ours",
)
"""Riddles: each of them hides its subject or its object."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring, those of constants and attributes included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Module | ast.ClassDef) or not isinstance(body, list):
            continue
        for before, after in pairwise(body):
            if not isinstance(before, ast.Assign | ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                yield after.lineno, after.value.value


def faults(source: str) -> list[str]:
    """Return what is wrong with the docstrings of a file, a line each."""
    found = []
    for line, text in docstrings(source):
        first = re.split(r"(?<=[.!?])\s|\n\n", " ".join(text.strip().split("\n\n")[0].split()))[0]
        if len(first) > MAX_CHARS:
            found.append(f"{line}: the first sentence has {len(first)} characters: {first}")
        if first.startswith(OPENINGS):
            found.append(f"{line}: the first sentence begins with a riddle: {first}")
        words = " ".join(text.lower().split())
        found += [f"{line}: says {phrase!r}" for phrase in BANNED if re.search(rf"\b{re.escape(phrase)}\b", words)]
    return found


def test_docstrings_are_short_plain_sentences() -> None:
    """First sentences are short and name their subject; no banned phrase stands anywhere in a docstring."""
    found = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "source",
    [
        '"""What a store needs."""',
        'def f():\n    """Whether it may."""',
        'LIMIT = 1\n"""So many rows at once, whoever asks."""',
        f'"""Return {"a very long thing " * 6}."""',
    ],
)
def test_a_planted_riddle_is_found(source: str) -> None:
    """The test above would notice each of them."""
    assert faults(source)
