"""Agents, collections and orchestrators that an operator declares in a TOML file (`saa serve --config saa.toml`).

    [agents.travel]
    description = "knows trains, hotels and museums"
    answer_tokens = 300

    [collections.products]
    dim = 384
    metric = "cosine"

    [orchestrators.helpdesk.agents.travel] # see `tenancy.orchestrator_settings`

Each table may name the `tenant` it is for; that of callers without one when it does not. What is declared is there when
the server listens. A declared agent is changed in the file alone; a declared collection is made when it is missing, and
is never deleted because a file does not name it any more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, checked_name
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.tenancy.orchestrator_settings import OrchestratorSettings
from super_advanced_agents.types import AgentInfo

T = TypeVar("T", bound=BaseModel)

_MAX_FILE_BYTES = 1 << 20


def _name(given: str) -> str:
    return checked_name(given, "name")


Name = Annotated[str, AfterValidator(_name)]
"""1 to 64 letters, digits, `_` or `-`."""

Key = tuple[str, str]
"""Tenant and name."""


class AgentSettings(BaseModel):
    """What an agent may be given; what is not given is as for every agent.

    Attributes:
        description: what it knows, in plain words.
        namespace: whose memories it has; those of its own name when None.
        answer_tokens: the length of an answer, at most, in tokens.
        context_chars: how many characters of memories an answer may be built from.
        rerank: whether the language model looks again at the best matches of each search.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"description": "knows trains, hotels and museums", "answer_tokens": 300}]},
    )

    description: str = Field(default="", max_length=1_000)
    namespace: Name | None = None
    answer_tokens: int = Field(default=200, ge=1, le=LIMITS.answer_tokens)
    context_chars: int = Field(default=4_000, ge=1, le=200_000)
    rerank: bool = False

    def info(self, name: str, *, updated_at: float | None) -> AgentInfo:
        """The agent of that name; declared when nobody knows since when."""
        return AgentInfo(
            name=name,
            description=self.description,
            namespace=self.namespace or name,
            answer_tokens=self.answer_tokens,
            context_chars=self.context_chars,
            rerank=self.rerank,
            declared=updated_at is None,
            updated_at=updated_at,
        )


class CollectionSettings(BaseModel):
    """What a collection is made with; see `stores.options`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    dim: int = Field(ge=1, le=LIMITS.dim)
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    storage: Storage = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the file declares, by tenant and name.

    Attributes:
        file: for messages.
        agents: with their settings.
        collections: with what they are made with.
        orchestrators: with their agents.
    """

    file: str = ""
    agents: Mapping[Key, AgentSettings] = field(default_factory=lambda: MappingProxyType({}))
    collections: Mapping[Key, CollectionSettings] = field(default_factory=lambda: MappingProxyType({}))
    orchestrators: Mapping[Key, OrchestratorSettings] = field(default_factory=lambda: MappingProxyType({}))


def load_declared(file: Path) -> Declared:
    """Read a file. Blocks.

    Raises:
        ConfigurationError: it cannot be read, or is wrong; the message names the table and the key.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{str(file)!r} is longer than {_MAX_FILE_BYTES} bytes", hint="check --config")
        tables = tomllib.loads(content.decode())
    except OSError as exc:
        raise ConfigurationError(f"cannot read {str(file)!r}: {exc.strerror}", hint="check --config") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{str(file)!r} is not UTF-8 at byte {exc.start}", hint="save it as UTF-8") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigurationError(f"{str(file)!r} is not TOML: {exc}", hint="see https://toml.io") from exc
    known = {"agents", "collections", "orchestrators"}
    for name in tables:
        if name not in known:
            raise ConfigurationError(
                f"{str(file)!r} has an unknown table [{name}]", hint=f"known are {', '.join(sorted(known))}"
            )
    return Declared(
        file=str(file),
        agents=MappingProxyType(_read(file, "agents", tables, AgentSettings)),
        collections=MappingProxyType(_read(file, "collections", tables, CollectionSettings)),
        orchestrators=MappingProxyType(_read(file, "orchestrators", tables, OrchestratorSettings)),
    )


def _read(file: Path, kind: str, tables: Mapping[str, Any], model: type[T]) -> dict[Key, T]:
    """All tables of a kind; `tenant` may stand in each of them."""
    named = tables.get(kind, {})
    found: dict[Key, T] = {}
    if not isinstance(named, dict):
        raise ConfigurationError(f"{str(file)!r}: [{kind}] must hold tables, such as [{kind}.mine]")
    for name, table in named.items():
        where = f"{str(file)!r}: [{kind}.{name}]"
        if not isinstance(table, dict):
            raise ConfigurationError(f"{where} must be a table, not {type(table).__name__}")
        settings = dict(table)
        try:
            checked_name(name, f"{kind}.{name}")
            tenant = checked_name(settings.pop("tenant", DEFAULT_TENANT), "tenant")
        except InvalidInputError as exc:
            raise ConfigurationError(f"{where}: {exc.message}", hint=exc.hint) from exc
        try:
            found[tenant, name] = model.model_validate(settings)
        except ValidationError as exc:
            raise ConfigurationError(f"{where} {'; '.join(_told(exc.errors(include_url=False)))}") from exc
    return found


def _told(errors: Iterable[Any]) -> Sequence[str]:
    """Each wrong key with what is wrong about it."""
    told = []
    for error in errors:
        cause = error.get("ctx", {}).get("error")
        why = cause.message if isinstance(cause, InvalidInputError) else error["msg"]
        told.append(f"{'.'.join(map(str, error['loc']))}: {why}")
    return told
