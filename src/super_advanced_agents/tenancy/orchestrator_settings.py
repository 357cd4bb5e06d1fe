"""The TOML settings of orchestrators, which distribute questions among agents.

They are a part of the configuration file (see `tenancy.config_file`).

    [orchestrators.helpdesk]
    default = "general"

    [orchestrators.helpdesk.agents.general]

    [orchestrators.helpdesk.agents.billing]
    agent = "bills"
    tasks = ["invoices", "refunds"]
    description = "knows invoices, payments and refunds"

    [orchestrators.helpdesk.agents.travel]
    url = "grpcs://travel.example.org:50051"
    api_key_file = "/run/secrets/travel-key"

An agent with a `url` is on another server; any other is on this server. `agent` is its name there; without it, the name
of the table is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from super_advanced_agents.config import checked_agent_name

_MAX_KEY_BYTES = 4_096


def _check_name(name: str) -> str:
    return checked_agent_name(name, "name")


_Name = Annotated[str, AfterValidator(_check_name)]


class MemberSettings(BaseModel):
    """Hold the settings of one agent in an orchestrator: its server, tasks and users.

    `Orchestrator.register_agent` describes `tasks`, `users` and `description` in detail.

    Attributes:
        agent: the agent's name on its server; its name in the orchestrator when None.
        url: the URL of the agent's server, `grpc://...` or `https://...`; this server when None.
        api_key_file: the file with the API key of that server; read when the settings are validated.
        tasks: the tasks that the agent handles.
        users: the only users that the agent serves; all users when empty.
        description: what the agent knows or does, in plain words.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    agent: _Name | None = None
    url: str | None = Field(default=None, pattern=r"^(grpcs?|https?)://[^/@\s]+/?$")
    api_key_file: str | None = None
    tasks: list[str] = Field(default_factory=list, max_length=1_000)
    users: list[str] = Field(default_factory=list, max_length=1_000)
    description: str = Field(default="", max_length=1_000)
    _api_key: SecretStr | None = PrivateAttr(default=None)

    @property
    def api_key(self) -> str | None:
        """The API key for the agent's server; None when no `api_key_file` is configured."""
        return None if self._api_key is None else self._api_key.get_secret_value()

    @model_validator(mode="after")
    def _read_key(self) -> Self:
        if self.api_key_file is not None:
            if self.url is None:
                raise ValueError("api_key_file is for agents with a url")
            try:
                with Path(self.api_key_file).open(encoding="utf-8") as file:
                    self._api_key = SecretStr(file.read(_MAX_KEY_BYTES).strip())
            except (OSError, UnicodeDecodeError) as exc:
                raise ValueError(f"api_key_file {self.api_key_file!r} cannot be read") from exc
        return self


class OrchestratorSettings(BaseModel):
    """Hold the settings of one orchestrator, which distributes questions among agents.

    They are arguments of `Orchestrator`.

    Attributes:
        agents: the agents, by their names in the orchestrator.
        default: the agent that answers when no other fits; None for an error.
        timeout_s: the time limit of one answer, in seconds.
        failures: the number of failures in a row after which an agent is left out.
        cool_down_s: how long a failing agent is left out, in seconds.
        min_similarity: the cosine similarity of question and description below which an agent does not fit.
        same_answer: the cosine similarity from which two answers count as equal.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    agents: dict[_Name, MemberSettings] = Field(min_length=1, max_length=256)
    default: _Name | None = None
    timeout_s: float = Field(default=60.0, gt=0, le=3_600)
    failures: int = Field(default=5, ge=1, le=1_000)
    cool_down_s: float = Field(default=30.0, ge=0, le=3_600)
    min_similarity: float = Field(default=0.1, ge=-1, le=1)
    same_answer: float = Field(default=0.9, ge=-1, le=1)

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default is not None and self.default not in self.agents:
            raise ValueError(f"default {self.default!r} is none of its agents")
        return self
