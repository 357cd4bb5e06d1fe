"""Kinds of jobs: the asynchronous functions that carry them out, with typed arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints, overload

import orjson

from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.jobs.context import JobContext, key_of
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.types import JSONValue

if TYPE_CHECKING:
    from pydantic import BaseModel

JobFunction = Callable[..., Coroutine[Any, Any, JSONValue]]

DEFAULT_QUEUE = "default"
_WHOLE_KIND = "*"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class JobKind:
    """A kind of background job: a function with its queue, attempts, timeout and key.

    Attributes:
        name: the name by which jobs of this kind are submitted.
        run: the asynchronous function; it may take a `JobContext` first.
        queue: the queue of its jobs.
        max_attempts: the number of attempts after which a job fails for good.
        timeout_s: the longest time of one attempt in seconds.
        key: the argument whose value only one running job of a tenant may have; `*` for one job of the kind at a time,
            empty for no limit.
        admin: whether only a caller with the scope `admin` may submit it.
        operator: whether only the operator may, as it concerns the data of all tenants.
        upload: the argument that holds the id of an upload; empty for none.
    """

    name: str
    run: JobFunction
    queue: str = DEFAULT_QUEUE
    max_attempts: int = 5
    timeout_s: float = 3600.0
    key: str = ""
    admin: bool = False
    operator: bool = False
    upload: str = ""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or _NAME.fullmatch(self.queue) is None:
            raise ConfigurationError(f"{self.name!r} or its queue {self.queue!r} is not a name of up to 64 characters")
        if not inspect.iscoroutinefunction(self.run):
            raise ConfigurationError(f"the job {self.name!r} is not an asynchronous function", hint="use `async def`")
        if self.max_attempts < 1 or not self.timeout_s > 0:
            raise ConfigurationError(f"the job {self.name!r} needs at least one attempt, and a timeout above 0")
        if self.key not in ("", _WHOLE_KIND) and self.key not in self._parameters:
            raise ConfigurationError(f"the job {self.name!r} has no argument {self.key!r} to be its key")
        if self.upload and self.upload not in self._parameters:
            raise ConfigurationError(f"the job {self.name!r} has no argument {self.upload!r} for an upload")

    def check_types(self) -> None:
        """Raise `ConfigurationError` if the types of the arguments cannot be checked."""
        _ = self._model

    def check_submitter(self, by: Principal) -> None:
        """Raise `PermissionDeniedError` unless a caller may have a job of this kind."""
        if self.operator:
            by.require_operator()
        elif self.admin:
            by.require(Access.ADMIN)

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, JSONValue]:
        """Call the function itself, without a job; for tests."""
        return self.run(*args, **kwargs)

    def checked(self, arguments: Mapping[str, JSONValue], *, max_bytes: int = LIMITS.job_bytes) -> dict[str, JSONValue]:
        """Check arguments against the function's types; return them as they are stored.

        Args:
            arguments: the arguments, by name.
            max_bytes: the limit on their JSON together.

        Raises:
            InvalidInputError: an argument is unknown, missing, of another type, or all are too large together.
        """
        try:
            data = orjson.dumps(arguments)
        except (TypeError, ValueError) as exc:
            raise InvalidInputError(
                f"the arguments of {self.name!r} are not JSON", field="arguments", hint="use text, numbers and lists"
            ) from exc
        if len(data) > max_bytes:
            raise InvalidInputError(
                f"the arguments of {self.name!r} have {len(data)} bytes, more than {max_bytes}",
                field="arguments",
                hint="put the data into a file or a collection, and give its name",
            )
        stored = orjson.loads(data)  # not equal to what came: NaN, which JSON does not have, became null
        if not isinstance(stored, dict):
            raise InvalidInputError(
                f"the arguments of {self.name!r} are not an object", field="arguments", hint="give each by its name"
            )
        self.parsed(stored)
        return stored

    def parsed(self, arguments: Mapping[str, JSONValue]) -> dict[str, Any]:
        """Convert stored arguments to the types of the function's parameters.

        Raises:
            InvalidInputError: an argument is unknown, missing or of another type.
        """
        from pydantic import ValidationError

        try:
            model = self._model.model_validate(dict(arguments))
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidInputError(
                f"the argument {where!r} of the job {self.name!r} is wrong: {first['msg']}",
                field=f"arguments.{where}",
                hint=f"it takes {', '.join(self._parameters) or 'no arguments'}",
            ) from None  # the cause would carry the values
        except Exception as exc:  # of a check that the kind brings itself
            raise InvalidInputError(
                f"the arguments of {self.name!r} cannot be checked: {type(exc).__name__}",
                field="arguments",
                hint="the author of this kind of job has to mend its check",
            ) from None
        return {name: getattr(model, f"argument_{number}") for number, name in enumerate(self._parameters)}

    def key_of(self, arguments: Mapping[str, JSONValue]) -> str | None:
        """Return the concurrency key of a job with these arguments; None when it has none."""
        if not self.key:
            return None
        if self.key == _WHOLE_KIND:
            return self.name
        value = arguments.get(self.key, self._parameters[self.key].default)
        return key_of(self.name, value)

    def upload_of(self, arguments: Mapping[str, JSONValue]) -> str | None:
        """Return the upload that a job with these arguments uses; None when it uses none."""
        value = arguments.get(self.upload) if self.upload else None
        return value if isinstance(value, str) else None

    @property
    def takes_context(self) -> bool:
        """True when the function's first parameter is a `JobContext`."""
        return self._context_first

    @cached_property
    def _context_first(self) -> bool:
        first = next(iter(inspect.signature(self.run).parameters), None)
        return first is not None and self._hints.get(first) is JobContext

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.run, include_extras=True)

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        parameters = dict(inspect.signature(self.run).parameters)
        if self._context_first:
            del parameters[next(iter(parameters))]
        for name, parameter in parameters.items():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise ConfigurationError(f"the job {self.name!r} must name each argument, unlike {name!r}")
        return parameters

    @cached_property
    def _model(self) -> type[BaseModel]:
        from pydantic import ConfigDict, Field, PydanticUserError, create_model

        try:
            # By aliases, since names such as `_x` and `model_config` are no names of fields.
            fields: dict[str, Any] = {
                f"argument_{number}": (
                    self._hints.get(name, Any),
                    Field(... if each.default is each.empty else each.default, alias=name),
                )
                for number, (name, each) in enumerate(self._parameters.items())
            }
            return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)
        except (NameError, TypeError, PydanticUserError) as exc:
            raise ConfigurationError(
                f"the arguments of the job {self.name!r} have types that JSON cannot be checked against: "
                f"{type(exc).__name__}",
                hint="annotate each with a type of JSON, a dataclass, an enum or a model of pydantic",
            ) from exc


@overload
def job(name: JobFunction, /) -> JobKind: ...


@overload
def job(
    name: str | None = None,
    *,
    queue: str = DEFAULT_QUEUE,
    max_attempts: int = 5,
    timeout_s: float = 3600.0,
    key: str = "",
    admin: bool = False,
    operator: bool = False,
    upload: str = "",
) -> Callable[[JobFunction], JobKind]: ...


def job(
    name: str | JobFunction | None = None,
    *,
    queue: str = DEFAULT_QUEUE,
    max_attempts: int = 5,
    timeout_s: float = 3600.0,
    key: str = "",
    admin: bool = False,
    operator: bool = False,
    upload: str = "",
) -> JobKind | Callable[[JobFunction], JobKind]:
    """Make a kind of background job of an asynchronous function with typed arguments.

    An attempt that raises is repeated after a pause that grows, until `max_attempts`. Work is repeated from the last
    finished step (`JobContext.step`), so a step must have the same effect when it runs twice.

    Args:
        name: the name by which jobs are submitted; the function's name when None, and for a bare `@job`.
        queue: the queue of its jobs; each queue has a number of jobs that run at once.
        max_attempts: the number of attempts after which a job fails for good.
        timeout_s: the longest time of one attempt in seconds.
        key: the argument whose value only one running job of a tenant may have, such as `"source"`; `"*"` for one
            job of this kind at a time.
        admin: whether only a caller with the scope `admin` may submit it.
        operator: whether only the operator may: a caller with the scope `admin` in the tenant `default`.
        upload: the argument that holds the id of an upload, whose file `JobContext.uploaded` then gives.

    Raises:
        ConfigurationError: the function is not asynchronous, or an option is invalid.
    """
    if callable(name):  # `@job` without brackets
        return JobKind(name.__name__, name)

    def make(run: JobFunction) -> JobKind:
        return JobKind(name or run.__name__, run, queue, max_attempts, timeout_s, key, admin, operator, upload)

    return make


class JobKinds(Mapping[str, JobKind]):
    """Hold the kinds of jobs that a process knows, by name.

    Args:
        kinds: the kinds.

    Raises:
        ConfigurationError: two kinds have one name.
    """

    def __init__(self, kinds: Iterable[JobKind] = ()) -> None:
        self._kinds: dict[str, JobKind] = {}
        for kind in kinds:
            if self._kinds.setdefault(kind.name, kind) is not kind:
                raise ConfigurationError(f"two kinds of jobs are called {kind.name!r}", hint="rename one of them")

    def __getitem__(self, name: str) -> JobKind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def known(self, name: str) -> JobKind:
        """Return a kind of job by its name.

        Raises:
            InvalidInputError: this process knows no such kind.
        """
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            raise InvalidInputError(
                f"there is no kind of job {str(name)[:64]!r}",
                field="kind",
                hint=f"known are {', '.join(sorted(self._kinds)) or 'none'}",
            )
        return kind


def kinds_in(modules: Iterable[str]) -> list[JobKind]:
    """Import modules by name, and return the kinds of jobs that stand in them.

    Raises:
        ConfigurationError: a module cannot be imported, or a kind has arguments whose types cannot be checked.
    """
    found: dict[int, JobKind] = {}
    for name in modules:
        try:
            module = import_module(name)
        except Exception as exc:
            raise ConfigurationError(
                f"the module {name!r} of jobs cannot be imported: {type(exc).__name__}",
                hint="check SAA_JOB_MODULES and PYTHONPATH",
            ) from exc
        found.update((id(value), value) for value in vars(module).values() if isinstance(value, JobKind))
    for kind in found.values():
        kind.check_types()
    return list(found.values())
