"""Arguments of functions that users make jobs of: their names and types."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.jobs import JobKind, job
from super_advanced_agents.jobs.kinds import kinds_in

if TYPE_CHECKING:
    from collections.abc import Hashable


def deep(levels: int) -> Any:
    """Return lists within lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@job()
async def naming(_hidden: int, model_config: str, model_dump: list[int], self: int, copy: int = 7) -> None:
    """Take arguments of names that models of pydantic do not have."""


@job()
async def locking(lock: threading.Lock) -> None:
    """Take what is no JSON."""


@job()
async def unknowing(value: Hashable) -> None:
    """Take a type that is not there when the module runs."""


def test_arguments_may_have_any_name() -> None:
    """Errors name them as the function does."""
    given: dict[str, Any] = {"_hidden": 1, "model_config": "x", "model_dump": [2], "self": 3}
    assert naming.parsed(naming.checked(given)) == {**given, "copy": 7}
    with pytest.raises(InvalidInputError, match="'_hidden'"):
        naming.checked({**given, "_hidden": "many"})
    with pytest.raises(InvalidInputError, match="'argument_4'"):
        naming.checked({**given, "argument_4": 1})


@pytest.mark.parametrize("kind", [locking, unknowing], ids=["no JSON", "unknown name"])
def test_types_that_cannot_be_checked_are_refused_when_the_module_is_loaded(
    kind: JobKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that started would fail each such call by an error of another library."""
    module = ModuleType("own_jobs")
    vars(module)["kind"] = kind
    monkeypatch.setitem(sys.modules, "own_jobs", module)
    with pytest.raises(ConfigurationError, match=kind.name):
        kinds_in(["own_jobs"])


def test_bare_decorator_makes_a_kind() -> None:
    """`@job` without brackets is the kind of the function's name."""

    @job
    async def plain(number: int) -> int:
        return number

    assert plain.name == "plain"
    assert plain.checked({"number": 1}) == {"number": 1}


@job
async def measuring(value: float) -> float:
    """Take a number."""
    return value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_number_that_json_does_not_have_is_refused(number: float) -> None:
    """It would be stored as null, and fail the job."""
    with pytest.raises(InvalidInputError, match="valid number"):
        measuring.checked({"value": number})


@pytest.mark.parametrize("arguments", [[1], "text", 1, [["value", 1.0]]])
def test_arguments_without_names_are_refused(arguments: Any) -> None:
    """They are an object of JSON."""
    with pytest.raises(InvalidInputError, match="not an object"):
        measuring.checked(arguments)


@pytest.mark.parametrize("value", ["\ud800", {1: 2}, 2**70, b"bytes", deep(300)])
def test_value_that_is_no_json_is_refused(value: Any) -> None:
    """Half of a character, numbers as names, bytes, and what is nested too deeply."""
    with pytest.raises(InvalidInputError):
        measuring.checked({"value": value})
