"""Errors form one tree, carry their fields, and lose nothing when they are copied."""

from __future__ import annotations

import ast
import asyncio
import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

from super_advanced_agents import errors
from super_advanced_agents.errors import (
    DimensionMismatchError,
    InvalidInputError,
    OverloadedError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)

TREE = sorted(
    (value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)),
    key=lambda value: value.__name__,
)
RETRYABLE = {
    "OverloadedError",
    "StoreLockedError",
    "StoreFullError",
    "EngineUnavailableError",
    "RateLimitedError",
    "AgentTimeoutError",
    "AgentUnavailableError",
}


def _example_of(cls: type[SuperAdvancedAgentsError]) -> SuperAdvancedAgentsError:
    parameters = inspect.signature(cls).parameters
    options: dict[str, object] = {"hint": "do this"}
    if "retry_after_s" in parameters:
        options["retry_after_s"] = 1.5
    if "field" in parameters:
        options["field"] = "metadatas[3]"
    return cls("what is wrong", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", TREE)
def test_every_error_is_under_the_root_and_states_retryable(cls: type[SuperAdvancedAgentsError]) -> None:
    """`except SuperAdvancedAgentsError` catches all of them, and never a cancellation."""
    assert issubclass(cls, SuperAdvancedAgentsError)
    assert not issubclass(cls, asyncio.CancelledError)
    assert cls.retryable is (cls.__name__ in RETRYABLE)
    assert inspect.getdoc(cls)


@pytest.mark.parametrize("cls", TREE)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_copied_error_keeps_class_message_hint_and_fields(cls: type[SuperAdvancedAgentsError], copied: object) -> None:
    """Errors are copied and sent to other processes."""
    error = _example_of(cls)
    error.add_note("seen in a worker")
    other = copied(error)  # type: ignore[operator]
    assert other is not error
    assert type(other) is cls
    assert str(other) == str(error) == "what is wrong (do this)"
    assert other.message == "what is wrong"
    assert vars(other) == vars(error)
    assert other.args == error.args


def test_drawing_in_the_module_docstring_matches_the_error_tree() -> None:
    """Every class is drawn under its parent, and nothing else is drawn."""
    drawn: dict[str, int] = {}
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]) // 4, match[2]
        drawn[name] = depth
        path[depth:] = [name]
        if depth:
            parents[name] = path[depth - 1]
    assert set(drawn) == {cls.__name__ for cls in TREE}
    for cls in TREE:
        if cls is not SuperAdvancedAgentsError:
            assert parents[cls.__name__] == cls.__bases__[0].__name__


def test_input_and_configuration_errors_are_value_errors() -> None:
    """Callers who know only Python's own errors catch them, too."""
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(DimensionMismatchError, InvalidInputError)
    assert issubclass(InvalidInputError, ValueError)
    assert not issubclass(errors.StoreError, ValueError)


@pytest.mark.parametrize("cls", [OverloadedError, RateLimitedError])
def test_overload_errors_require_retry_after_s(cls: type[OverloadedError]) -> None:
    """An argument with a default could be forgotten."""
    assert cls("full", retry_after_s=0.5).retry_after_s == 0.5
    with pytest.raises(TypeError):
        cls("full")  # type: ignore[call-arg]


def test_error_message_without_a_hint_has_no_brackets() -> None:
    """With a hint, the message ends with the hint in brackets."""
    assert str(SuperAdvancedAgentsError("plain")) == "plain"
    assert str(SuperAdvancedAgentsError("plain", hint="but do this")) == "plain (but do this)"


def test_words_of_another_server_are_in_the_text_but_not_in_the_message() -> None:
    """The message goes to callers of a server; the text is for its operator."""
    error = SuperAdvancedAgentsError("it failed", hint="look")
    error.said = "no such thing"
    assert str(pickle.loads(pickle.dumps(error))) == 'it failed, saying "no such thing" (look)'
    assert error.message == "it failed"


def test_every_error_whose_hint_is_to_try_again_is_retryable(project_root: Path) -> None:
    """The advice for people and the flag for programs agree."""
    seen, wrong = 0, []
    for path in (project_root / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                continue
            cls = vars(errors).get(call.func.id)
            options = {option.arg: ast.unparse(option.value) for option in call.keywords}
            if inspect.isclass(cls) and "try again" in options.get("hint", ""):
                seen += 1
                if not (cls.retryable or options.get("retryable") == "True"):
                    wrong.append(f"{path.name}: {cls.__name__}")
    assert seen > 5
    assert wrong == []
