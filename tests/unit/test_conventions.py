"""The package keeps conventions that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import super_advanced_agents
from super_advanced_agents.errors import SuperAdvancedAgentsError

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
WRITTEN = [path for path in (*SOURCES, *TESTS) if not GENERATED.search(path.name)]
"""The files that people write."""

MAX_LINES = 400
MAX_MODULES = 16

BLOCKING_FORMS = {
    "EmbeddingPipeline": ["embed", "embed_batch"],
    "LLMGenerator": ["generate", "stream", "chat"],
    "VectorStore": [
        *("add", "add_batch", "put", "update", "search", "search_batch", "search_with_filter"),
        *("get", "delete", "count", "scan", "stats"),
    ],
    "FAISSVectorStore": ["add", "add_batch", "search", "search_batch", "delete", "count", "scan", "stats"],
    "AsyncLLMAgent": [
        *("add_text_memory", "add_text_memories", "add_turns", "search_text", "hybrid_search"),
        *("update_memory", "relocate_memories", "forget", "get", "count", "ask"),
    ],
    "Orchestrator": ["route", "chain", "fallback", "parallel", "collaborate"],
}
"""The operations of the contract that a class must offer in blocking and asynchronous form once it is exported."""


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


def test_python_files_have_at_most_400_lines() -> None:
    """A longer file holds more than one thing."""
    lines = {_id(path): len(path.read_text(encoding="utf-8").splitlines()) for path in WRITTEN}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_folders_have_at_most_16_modules() -> None:
    """A larger folder holds several subjects, and nobody finds a file in it by its name."""
    modules = Counter(_id(path.parent) for path in SOURCES if not GENERATED.search(path.name))
    assert {folder: count for folder, count in modules.items() if count > MAX_MODULES} == {}


def test_source_files_have_no_catch_all_name() -> None:
    """A file of helpers has no subject, so anything ends up in it."""
    catch_all = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [_id(path) for path in SOURCES if path.stem in catch_all] == []


def test_source_files_never_run_code_from_data() -> None:
    """Pickle and its relatives, `torch.load`, `eval` and `exec` can run code."""
    ways = {_id(path): _ways_to_run_code(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: found for path, found in ways.items() if found} == {}


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
def test_check_for_running_code_finds_each_planted_call(source: str) -> None:
    """The test above would otherwise pass for any source."""
    assert _ways_to_run_code(ast.parse(source))


def test_modules_document_their_exports() -> None:
    """Every module has a docstring, and so has every public class, function and method."""
    for name in _modules():
        module = importlib.import_module(name)
        assert inspect.getdoc(module), f"{name} has no docstring"
        for value in [getattr(module, public) for public in getattr(module, "__all__", [])]:
            if inspect.isclass(value) or inspect.isfunction(value):
                assert _documented(value), f"{name} exports {value.__name__} without a docstring"
            if inspect.isclass(value):
                undocumented = [
                    member
                    for member, function in vars(value).items()
                    if not member.startswith("_")
                    and (inspect.isfunction(function) or isinstance(function, property))
                    and not inspect.getdoc(getattr(value, member))
                ]
                assert not undocumented, f"{name} exports {value.__name__} with undocumented {undocumented}"


def test_async_methods_and_their_blocking_forms_have_one_signature() -> None:
    """Wherever a class has `averb` and `verb`, the parameters are equal, and `verb` is no coroutine."""
    for name in _modules():
        module = importlib.import_module(name)
        for cls in [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == name]:
            _check_forms(cls)


def _check_forms(cls: type) -> None:
    for averb in dir(cls):
        if not averb.startswith("a"):
            continue
        async_form, blocking_form = getattr(cls, averb, None), getattr(cls, averb[1:], None)
        if blocking_form is None or not callable(blocking_form):
            continue
        if inspect.iscoroutinefunction(async_form) or inspect.isasyncgenfunction(async_form):
            names = f"{cls.__name__}.{averb} and .{averb[1:]}"
            async_parameters, blocking_parameters = (
                inspect.signature(async_form).parameters,
                inspect.signature(blocking_form).parameters,
            )
            assert list(async_parameters.values()) == list(blocking_parameters.values()), names
            assert not inspect.iscoroutinefunction(blocking_form), names
            assert not inspect.isasyncgenfunction(blocking_form), names


@pytest.mark.parametrize("name", sorted(set(BLOCKING_FORMS) & set(getattr(super_advanced_agents, "__all__", []))))
def test_exported_class_has_both_forms_of_each_operation(name: str) -> None:
    """Each operation of the contract exists as `verb()` and as `averb()`."""
    cls = getattr(super_advanced_agents, name)
    missing = [
        form for verb in BLOCKING_FORMS[name] for form in (verb, f"a{verb}") if not callable(getattr(cls, form, None))
    ]
    assert missing == []


def test_every_error_of_the_package_is_in_the_tree_and_states_retryable() -> None:
    """Private exceptions that only signal need not."""
    for name in _modules():
        for value in vars(importlib.import_module(name)).values():
            if not inspect.isclass(value) or value.__name__.startswith("_"):
                continue
            if issubclass(value, Exception) and value.__module__ == name:
                assert issubclass(value, SuperAdvancedAgentsError), f"{name}.{value.__name__} stands outside the tree"
                assert isinstance(value.retryable, bool)


def test_changelog_has_lines_of_at_most_120_characters() -> None:
    """Longer ones are hard to read in a diff."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120] == []


def test_tracked_files_contain_no_package_registry_and_no_local_path() -> None:
    """Package index and checkout folder are the reader's choice."""
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
    """Return whether a value has a docstring of its own, not the generated one of a dataclass or NamedTuple."""
    doc = getattr(value, "__doc__", None) or ""
    return bool(doc.strip()) and not doc.startswith(f"{getattr(value, '__name__', '')}(")
