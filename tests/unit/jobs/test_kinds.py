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
