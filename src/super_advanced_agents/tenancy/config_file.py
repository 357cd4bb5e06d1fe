"""Agents, collections and orchestrators declared in a TOML file (`saa serve --config FILE`).

    [agents.travel]
    description = "knows trains, hotels and museums"
    answer_tokens = 300

    [collections.products]
    dim = 384
    metric = "cosine"

    [orchestrators.helpdesk.agents.travel] # see `tenancy.orchestrator_settings`

Each table may name a `tenant`; without one it belongs to the default tenant. Everything declared exists before the
server listens. A declared agent can be changed in the file only. A declared collection is created when it is missing,
and is not deleted when the file no longer names it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, checked_agent_name, checked_name
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.tenancy.orchestrator_settings import OrchestratorSettings
from super_advanced_agents.types import AgentInfo

T = TypeVar("T", bound=BaseModel)

_MAX_FILE_BYTES = 1 << 20


def _check_name(name: str) -> str:
    return checked_agent_name(name, "name")


Name = Annotated[str, AfterValidator(_check_name)]
"""A name of 1 to 256 characters without control characters."""

Key = tuple[str, str]
"""The tenant and the name of an agent, a collection or an orchestrator."""


class AgentSettings(BaseModel):
    """Hold the settings of one agent; an agent without settings has the defaults.

    Attributes:
        description: the agent's knowledge, in plain words.
        namespace: the namespace of the agent's memories; the one of its own name when None.
        answer_tokens: the maximum length of an answer, in tokens.
        context_chars: the maximum size of the memories in a prompt, in characters.
        rerank: re-rank the best matches of each search with the language model.
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
        """Return these settings and the agent's name as an `AgentInfo`.

        An `updated_at` of None marks an agent that the configuration file declares.
        """
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
    """Hold the vector dimension, metric, index and storage of a collection to create.

    Attributes:
        dim: the dimension of its vectors.
        metric: the similarity; see `stores.options`, also for `index` and `storage`.
        index: the kind of index.
        storage: the precision of the stored vectors.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    dim: int = Field(ge=1, le=LIMITS.dim)
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    storage: Storage = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Hold the agents, collections and orchestrators that a configuration file declares.

    Attributes:
        file: the path of the file, for error messages.
        agents: the settings of the declared agents.
        collections: the settings of the declared collections.
        orchestrators: the settings of the declared orchestrators.
    """

    file: str = ""
    agents: Mapping[Key, AgentSettings] = field(default_factory=lambda: MappingProxyType({}))
    collections: Mapping[Key, CollectionSettings] = field(default_factory=lambda: MappingProxyType({}))
    orchestrators: Mapping[Key, OrchestratorSettings] = field(default_factory=lambda: MappingProxyType({}))


def load_declared(file: Path) -> Declared:
    """Read and validate a TOML configuration file, and return its declarations. Blocks.

    Raises:
        ConfigurationError: the file cannot be read or is invalid; the message names the table and the key.
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
    named_tables = tables.get(kind, {})
    parsed: dict[Key, T] = {}
    if not isinstance(named_tables, dict):
        raise ConfigurationError(f"{str(file)!r}: [{kind}] must hold tables, such as [{kind}.mine]")
    for name, table in named_tables.items():
        where = f"{str(file)!r}: [{kind}.{name}]"
        if not isinstance(table, dict):
            raise ConfigurationError(f"{where} must be a table, not {type(table).__name__}")
        settings = dict(table)
        try:
            (checked_agent_name if kind == "agents" else checked_name)(name, f"{kind}.{name}")
            tenant = checked_name(settings.pop("tenant", DEFAULT_TENANT), "tenant")
        except InvalidInputError as exc:
            raise ConfigurationError(f"{where}: {exc.message}", hint=exc.hint) from exc
        try:
            parsed[tenant, name] = model.model_validate(settings)
        except ValidationError as exc:
            raise ConfigurationError(
                f"{where} {'; '.join(_describe_errors(exc.errors(include_url=False)))}",
                hint="docs/configuration-file.md has every key and its values",
            ) from exc
    return parsed


def _describe_errors(errors: Iterable[Any]) -> Sequence[str]:
    lines = []
    for error in errors:
        cause = error.get("ctx", {}).get("error")
        why = cause.message if isinstance(cause, InvalidInputError) else error["msg"]
        lines.append(f"{'.'.join(map(str, error['loc']))}: {why}")
    return lines
