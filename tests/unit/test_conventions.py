"""Conventions that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import super_advanced_agents
from super_advanced_agents.errors import SuperAdvancedAgentsError

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
MAX_LINES = 400

TWINS = {
    "EmbeddingPipeline": ["embed", "embed_batch"],
    "LLMGenerator": ["generate", "stream", "chat"],
    "VectorStore": [
        *("add", "add_batch", "put", "update", "search", "search_batch", "search_with_filter"),
        *("get", "delete", "count", "scan", "stats"),
    ],
    "FAISSVectorStore": ["add", "add_batch", "search", "search_batch", "delete", "count", "scan", "stats"],
    "AsyncLLMAgent": [
        *("add_text_memory", "add_text_memories", "add_turns", "search_text", "hybrid_search"),
        *("update_memory", "forget", "get", "count", "ask"),
    ],
    "Orchestrator": ["route", "chain", "fallback", "parallel", "collaborate"],
}
"""Operations of the contract that a class offers in both forms, from the day it is exported."""


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _modules() -> Iterator[str]:
    yield super_advanced_agents.__name__
    for found in pkgutil.walk_packages(super_advanced_agents.__path__, super_advanced_agents.__name__ + "."):
        if not GENERATED.search(found.name + ".py") and not found.name.endswith("__main__"):
            yield found.name


def _tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("path", [path for path in SOURCES if not GENERATED.search(path.name)], ids=_id)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    """Past 400 lines a file holds more than one thing."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_a_file_is_named_for_what_it_holds(path: Path) -> None:
    """Drawers for odds and ends are not opened."""
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_data_is_never_read_in_a_way_that_can_run_code(path: Path) -> None:
    """No pickle and its relatives, no `torch.load`, no `eval`, no `exec`."""
    assert _ways_to_run_code(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('f')",
        "eval('1')",
        "exec('1')",
        "numpy.load('f', allow_pickle=True)",
        "__import__('pickle')",
        "yaml.load(text)",
    ],
)
def test_a_planted_way_to_run_code_is_found(source: str) -> None:
    """The test above would notice each of them."""
    assert _ways_to_run_code(ast.parse(source))


@pytest.mark.parametrize("name", sorted(_modules()))
def test_what_a_module_exports_is_documented(name: str) -> None:
    """Importing works by itself, and every public class, function and method says what it is for."""
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    exported = [getattr(module, public) for public in getattr(module, "__all__", [])]
    for value in exported:
        if inspect.isclass(value) or inspect.isfunction(value):
            assert _documented(value), f"{name} exports {value.__name__} without a docstring"
        if inspect.isclass(value):
            silent = [
                member
                for member, function in vars(value).items()
                if not member.startswith("_")
                and (inspect.isfunction(function) or isinstance(function, property))
                and not inspect.getdoc(getattr(value, member))
            ]
            assert not silent, f"{name} exports {value.__name__} with undocumented {silent}"


@pytest.mark.parametrize("name", sorted(_modules()))
def test_an_asynchronous_method_and_its_blocking_twin_have_one_signature(name: str) -> None:
    """Wherever a class has `averb` and `verb`, the parameters are the same, and the blocking one is no coroutine."""
    module = importlib.import_module(name)
    for cls in [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == name]:
        for averb in dir(cls):
            native, twin = getattr(cls, averb, None), getattr(cls, averb[1:], None)
            if not averb.startswith("a") or twin is None or not callable(twin):
                continue
            if inspect.iscoroutinefunction(native) or inspect.isasyncgenfunction(native):
                told = f"{cls.__name__}.{averb} and .{averb[1:]}"
                ours, theirs = inspect.signature(native).parameters, inspect.signature(twin).parameters
                assert list(ours.values()) == list(theirs.values()), told
                assert not inspect.iscoroutinefunction(twin), told
                assert not inspect.isasyncgenfunction(twin), told


@pytest.mark.parametrize("name", sorted(set(TWINS) & set(getattr(super_advanced_agents, "__all__", []))))
def test_an_exported_class_offers_the_operations_of_the_contract_twice(name: str) -> None:
    """Each operation exists as `verb()` and as `averb()`."""
    cls = getattr(super_advanced_agents, name)
    missing = [form for verb in TWINS[name] for form in (verb, f"a{verb}") if not callable(getattr(cls, form, None))]
    assert missing == []


def test_every_error_says_whether_it_is_worth_a_retry() -> None:
    """Errors defined anywhere in the package carry `retryable`, and stand in the one tree; private signals need not."""
    for name in _modules():
        for value in vars(importlib.import_module(name)).values():
            if not inspect.isclass(value) or value.__name__.startswith("_"):
                continue
            if issubclass(value, Exception) and value.__module__ == name:
                assert issubclass(value, SuperAdvancedAgentsError), f"{name}.{value.__name__} stands outside the tree"
                assert isinstance(value.retryable, bool)


def test_tracked_files_name_no_registry_and_no_path_of_one_machine() -> None:
    """Which index serves packages, and where a checkout lies, is the reader's business."""
    private = re.compile(
        r"\b(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|debian\.org|anaconda\.org)\b|(?<![\w.~})/-])/(work|root)/"
    )
    found = []
    for path in _tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{_id(path)}: {match[0]}" for match in private.finditer(text)]
    assert found == []


def _ways_to_run_code(tree: ast.Module) -> list[str]:
    modules = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in modules]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in modules:
            found.append(node.module or "")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"eval", "exec", "__import__", "torch.load", "yaml.load"}:
                found.append(called)
            found += [
                "allow_pickle"
                for word in node.keywords
                if word.arg == "allow_pickle" and ast.unparse(word.value) != "False"
            ]
    return found


def _documented(value: object) -> bool:
    """Whether it has a docstring of its own; a dataclass's or a NamedTuple's generated one does not count."""
    doc = getattr(value, "__doc__", None) or ""
    return bool(doc.strip()) and not doc.startswith(f"{getattr(value, '__name__', '')}(")
