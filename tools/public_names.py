"""The page of public names, made from each public module's `__all__` and its docstrings."""

from __future__ import annotations

import importlib
import inspect

PACKAGE = "super_advanced_agents"
MODULES = {
    "": "What most programs need.",
    "errors": "The tree of errors; `retryable` says whether the same call may succeed later.",
    "types": "Values that cross module borders.",
    "agents": "Agents with a memory.",
    "embeddings": "Texts to vectors.",
    "generation": "Text from language models.",
    "stores": "Vector stores in this process.",
    "stores.transfer": "Export and import of records.",
    "client": "Stores and agents of a server.",
    "retrieval": "Re-ranking and explanations.",
    "orchestration": "Several agents behind one question.",
    "models": "Model files: which there are, and how they are fetched.",
    "testing.store_suite": "The behaviour suite that every vector store passes.",
}
"""Public modules and their purposes; names of other modules may change without notice."""

_HEAD = """# Public names

Import these names from the modules named here; everything else may change without notice. Each class offers its
operations twice, as `averb()` for asyncio and as blocking `verb()`. `help(name)` says the rest. `make contracts` writes
this page.
"""


def page() -> str:
    """Return the page as Markdown: a section for each module, a row for each name."""
    sections = [_HEAD]
    for name, purpose in MODULES.items():
        path = f"{PACKAGE}.{name}" if name else PACKAGE
        module = importlib.import_module(path)
        rows = [f"| `{each}` | {_sentence(getattr(module, each))} |" for each in sorted(module.__all__)]
        table = ["| name | meaning |", "|---|---|", *rows]
        sections.append("\n".join([f"## `{path}`", "", purpose, "", *table, ""]))
    return "\n".join(sections)


def _sentence(value: object) -> str:
    """Return the first sentence of a docstring, or the kind of a value that has none."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return (inspect.getdoc(value) or "").partition("\n")[0].replace("|", "\\|")
    return "a constant" if isinstance(value, str | int | dict) or hasattr(value, "keys") else "a type"
