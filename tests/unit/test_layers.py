"""The layer order of the architecture, held by reading every import in the source."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import super_advanced_agents

PACKAGE = "super_advanced_agents"
SOURCE = Path(__file__).resolve().parent.parent.parent / "src"
MODULES = sorted(SOURCE.rglob("*.py"))

FOLDERS = [path for path in MODULES if path.name == "__init__.py" and path != SOURCE / PACKAGE / path.name]

LAYERS: list[set[str]] = [
    {"errors"},
    {"types"},
    {"config"},
    {"telemetry"},
    {"_runtime"},
    {"formats"},
    {"models"},
    {"embeddings", "generation", "stores"},
    {"retrieval"},
    {"agents"},
    {"orchestration"},
    {"tenancy"},
    {"jobs"},
    {"protocol"},
    {"client", "server"},
    {"cli"},
    {"__main__"},
]
"""A module imports only from folders that stand before its own; folders of one layer never import each other."""

RANK = {folder: rank for rank, folders in enumerate(LAYERS) for folder in folders}
OUTSIDE_THE_LIBRARY = {"testing", "cli"}
"""`testing` may import everything and nothing imports it; `cli` is the top."""


def folder_of(path: Path) -> str:
    """The folder a file stands in: `stores` for stores/faiss/store.py, `` for the package's own `__init__.py`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts[0] != PACKAGE:
        return parts[0]
    return "" if parts[1] == "__init__" else parts[1]


@cache
def imported(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import of this project's code, wherever in the file it stands."""
    return list(_imports_in(path))


def _imports_in(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in (PACKAGE, "async_llm_agent"):
                    yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if (node.module or "").partition(".")[0] in (PACKAGE, "async_llm_agent"):
                for alias in node.names:
                    yield node.module or "", alias.name


def imported_folder(module: str, name: str) -> str:
    """The folder an import reaches into; `` for the package's own names."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return parts[0]
    if len(parts) > 1:
        return parts[1]
    return name if name in RANK or name in OUTSIDE_THE_LIBRARY else ""


def module_name(path: Path) -> str:
    """The dotted name of a file's module; that of the package for its `__init__.py`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(modules: list[Path]) -> dict[str, set[str]]:
    """Module -> modules that it imports, wherever in the file and for whatever purpose."""
    names = {module_name(path) for path in modules}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for path in modules:
        for module, name in imported(path):
            target = f"{module}.{name}" if f"{module}.{name}" in names else module
            if target in names:
                graph[module_name(path)].add(target)
    return graph


def in_circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that are part of a circle, or stand between two: those left when all ends are taken away."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        ends = {name for name, targets in left.items() if not targets} | left.keys() - set().union(*left.values())
        if not ends:
            return set(left)
        left = {name: targets - ends for name, targets in left.items() if name not in ends}


def _imported_names(body: list[ast.stmt]) -> list[str]:
    return [
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    ]


def _id(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_modules_import_only_from_what_stands_before_them() -> None:
    """Within their own folder, or from an earlier layer; never a sibling, `testing`, or the package's own face."""
    for path in MODULES:
        check_imports(path)


def check_imports(path: Path) -> None:
    """Assert that a module imports only what it may."""
    own = folder_of(path)
    for module, name in imported(path):
        target = imported_folder(module, name)
        told = f"{_id(path)} imports {module}{f'.{name}' if name else ''}"
        if own == "testing":
            assert target != "cli", told
        elif own == "":
            assert target not in OUTSIDE_THE_LIBRARY, told
        elif own == "async_llm_agent":
            assert (module, target) == (PACKAGE, ""), told
        else:
            assert own in RANK, f"{_id(path)} stands in no folder of the architecture: give {own!r} a layer in LAYERS"
            assert target in RANK, told
            assert target == own or RANK[target] < RANK[own], f"{told}, which does not stand before it"


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Not inside functions and not for type checkers only: those who need each other have a third in common."""
    assert in_circles(import_graph(MODULES)) == set()


def test_a_planted_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a function and a type checker's block, three modules long; what only hangs on it is not named."""
    sources = {
        "a": "from super_advanced_agents.b import B",
        "b": "def f():\n    from super_advanced_agents import c",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from super_advanced_agents.a import A",
        "above": "from super_advanced_agents.a import A",
        "below": "",
    }
    (tmp_path / PACKAGE).mkdir()
    for name, source in sources.items():
        (tmp_path / PACKAGE / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    found = in_circles(import_graph(sorted(tmp_path.rglob("*.py"))))
    assert found == {f"{PACKAGE}.{name}" for name in "abc"}


NAMES_AN_ENGINE = {
    "__init__.py": "re-exports the store for users",
    "cli/commands/transfer/migrate.py": "says in its help which URLs it takes",
    "server/http/schemas/examples.py": "what a server with that engine answers, for the documentation",
    "tenancy/settings.py": "documents the URL that an operator sets",
}
"""Files outside `stores` that say FAISS, and why they may."""


def test_nothing_above_the_stores_names_an_engine() -> None:
    """A store is opened by its URL and used through `VectorStore`, so that another engine changes no caller."""
    naming = {
        str(path.relative_to(SOURCE / PACKAGE))
        for path in (SOURCE / PACKAGE).rglob("*.py")
        if folder_of(path) not in {"stores", "testing"} and "faiss" in path.read_text(encoding="utf-8").lower()
    }
    assert naming == NAMES_AN_ENGINE.keys()


SERVES = {"mcp.py", "serve.py", "keys.py", "worker.py", "migrate.py"}
"""Commands that serve, or manage what only a server reads."""


def test_the_command_line_stands_on_tenancy_not_on_the_server() -> None:
    """Only the commands that serve import from it, when they are run."""
    for path in (SOURCE / PACKAGE / "cli").rglob("*.py"):
        uses_server = any(imported_folder(*each) == "server" for each in imported(path))
        assert not uses_server or path.name in SERVES, _id(path)
        at_once = [
            node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
        ]
        assert not [node.module for node in at_once if imported_folder(node.module or "", "") == "server"], _id(path)


def test_private_names_stay_in_their_folder() -> None:
    """No module imports a name or a module of another folder that begins with `_` (but `_runtime` itself)."""
    for path in MODULES:
        for module, name in imported(path):
            if imported_folder(module, name) == folder_of(path):
                continue
            below = [part for part in [*module.split(".")[1:], name] if part.startswith("_") and part != "_runtime"]
            assert not below, f"{_id(path)} imports the private {'.'.join([module, name])}"


def test_init_files_only_re_export() -> None:
    """A docstring, imports and `__all__`; code lives in modules with names."""
    for path in FOLDERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{_id(path)} has no docstring"
        for node in tree.body[1:]:
            is_all = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
            assert is_all or isinstance(node, (ast.Import, ast.ImportFrom)), f"{_id(path)}:{node.lineno} is neither"


def test_init_files_export_what_they_import() -> None:
    """`__all__` lists exactly the imported names."""
    for path in FOLDERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        listed = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
        assert sorted(_imported_names(tree.body)) == sorted(listed[0] if listed else []), _id(path)


def test_the_packages_own_face_re_exports_on_first_use() -> None:
    """Type checkers, `__all__` and the table of homes name the same things, and each is found where they say."""
    path = SOURCE / PACKAGE / "__init__.py"
    for_checkers = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    names = _imported_names(for_checkers[0].body)
    assert sorted(names) == sorted(super_advanced_agents.__all__) == sorted(super_advanced_agents._EXPORTS)
    for module, name in imported(path):
        if name in names:
            assert module == f"{PACKAGE}.{super_advanced_agents._EXPORTS[name]}"
            assert getattr(super_advanced_agents, name) is getattr(importlib.import_module(module), name)
    assert set(names) <= set(dir(super_advanced_agents))
    with pytest.raises(AttributeError, match="Nonsense"):
        super_advanced_agents.Nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import super_advanced_agents` imports no other library and starts no thread."""
    script = (
        "import sys, threading; before = set(sys.modules)\n"
        "import super_advanced_agents\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['super_advanced_agents'] 1\n", "")


def test_the_name_of_the_specification_gives_the_same_classes() -> None:
    """`async_llm_agent` re-exports, nothing more."""
    module = importlib.import_module("async_llm_agent")
    assert {"AsyncLLMAgent", "EmbeddingPipeline"} <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is getattr(super_advanced_agents, name)


@pytest.mark.parametrize(
    ("place", "source", "fault"),
    [
        ("stores/broken.py", "from super_advanced_agents.embeddings.pipeline import EmbeddingPipeline", "sibling"),
        ("stores/broken.py", "from super_advanced_agents.agents import LLMAgent", "later layer"),
        ("stores/broken.py", "from super_advanced_agents import errors, agents", "later layer by name"),
        ("stores/broken.py", "def f():\n    from super_advanced_agents.testing import fakes", "testing"),
        ("stores/broken.py", "import super_advanced_agents.cli.main", "plain import"),
        ("stores/broken.py", "from super_advanced_agents import FAISSVectorStore", "the package's own face"),
        ("errors.py", "from super_advanced_agents.types import Match", "upwards among the first"),
        ("odd_folder/broken.py", "from super_advanced_agents.errors import StoreError", "no such folder"),
        ("__init__.py", "from super_advanced_agents.testing import fakes", "testing from the top"),
    ],
)
def test_a_planted_fault_is_found(
    place: str, source: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above would notice each kind of wrong import."""
    path = tmp_path / PACKAGE / place
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    with pytest.raises(AssertionError):
        check_imports(path)
