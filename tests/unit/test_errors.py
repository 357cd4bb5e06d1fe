"""The error tree: its shape, what each error carries, and copies that lose nothing."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import re

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


def _made(cls: type[SuperAdvancedAgentsError]) -> SuperAdvancedAgentsError:
    wanted = inspect.signature(cls).parameters
    options: dict[str, object] = {"hint": "do this"}
    if "retry_after_s" in wanted:
        options["retry_after_s"] = 1.5
    if "field" in wanted:
        options["field"] = "metadatas[3]"
    return cls("what is wrong", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", TREE)
def test_every_error_stands_under_the_root_and_says_whether_to_retry(cls: type[SuperAdvancedAgentsError]) -> None:
    """`except SuperAdvancedAgentsError` catches all of them, never a cancellation, and `retryable` is a bool."""
    assert issubclass(cls, SuperAdvancedAgentsError)
    assert not issubclass(cls, asyncio.CancelledError)
    assert cls.retryable is (cls.__name__ in RETRYABLE)
    assert inspect.getdoc(cls)


@pytest.mark.parametrize("cls", TREE)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_keeps_everything(cls: type[SuperAdvancedAgentsError], way: object) -> None:
    """Copied or sent to another process, an error keeps class, message, hint and its own fields."""
    error = _made(cls)
    error.add_note("seen in a worker")
    other = way(error)  # type: ignore[operator]
    assert other is not error
    assert type(other) is cls
    assert str(other) == str(error) == "what is wrong (do this)"
    assert other.message == "what is wrong"
    assert vars(other) == vars(error)
    assert other.args == error.args


def test_the_drawing_at_the_top_of_the_module_is_the_tree() -> None:
    """Every class is drawn, under its parent, and nothing else is."""
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


def test_wrong_input_is_also_a_value_error() -> None:
    """Callers who know only Python's own errors catch wrong settings and wrong input too."""
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(DimensionMismatchError, InvalidInputError)
    assert issubclass(InvalidInputError, ValueError)
    assert not issubclass(errors.StoreError, ValueError)


@pytest.mark.parametrize("cls", [OverloadedError, RateLimitedError])
def test_errors_that_say_when_to_come_back_must_say_it(cls: type[OverloadedError]) -> None:
    """`retry_after_s` is no option that can be forgotten."""
    assert cls("full", retry_after_s=0.5).retry_after_s == 0.5
    with pytest.raises(TypeError):
        cls("full")  # type: ignore[call-arg]


def test_a_message_without_a_hint_stands_alone() -> None:
    """No empty brackets follow it."""
    assert str(SuperAdvancedAgentsError("plain")) == "plain"
    assert str(SuperAdvancedAgentsError("plain", hint="but do this")) == "plain (but do this)"
