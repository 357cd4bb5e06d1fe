"""How an operator declares an orchestrator, in the TOML file of `tenancy.config_file`.

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

Each agent is one of this server's, `agent`, or its own name without one; or, with `url`, one of another server's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from super_advanced_agents.config import checked_name

_MAX_KEY_BYTES = 4_096


def _name(given: str) -> str:
    return checked_name(given, "name")


_Name = Annotated[str, AfterValidator(_name)]


class MemberSettings(BaseModel):
    """One agent of an orchestrator.

    Attributes:
        agent: its name on its server; the name it has here when None.
        url: that server's, `grpc://...` or `https://...`; this server when None.
        api_key_file: the file with that server's key; read when the settings are.
        tasks: what it is for; see `Orchestrator.register_agent`, also for the two below.
        users: whom alone it serves.
        description: what it does.
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
        """The other server's key."""
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
    """One orchestrator; what each setting means, `Orchestrator` tells.

    Attributes:
        agents: by the names they have here.
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
    def _default_is_one_of_them(self) -> Self:
        if self.default is not None and self.default not in self.agents:
            raise ValueError(f"default {self.default!r} is none of its agents")
        return self
