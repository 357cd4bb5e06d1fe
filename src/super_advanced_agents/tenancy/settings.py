"""Everything an operator can set, from arguments or from the environment (`SAA_...`), checked once at start."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL, LIMITS, checked_name
from super_advanced_agents.errors import ConfigurationError, InvalidInputError

PREFIX = "SAA_"
_GRPC_PORT = 50_051


def _as_list(given: object) -> object:
    """A list as it stands in the environment: with commas, or as JSON."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except ValueError as exc:
            raise ValueError("a list has commas between its texts, or is JSON") from exc
    return [each.strip() for each in given.split(",") if each.strip()]


_Texts: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_as_list)]


class Settings(BaseSettings):
    """One process's settings; arguments come before the environment, which comes before the defaults.

    Attributes:
        data_dir: everything that lasts; the store lies in `store` below it.
        store: the URL of the store that all agents share, such as `faiss:./folder`; that in `data_dir` when None.
        models_dir: the folder of all models; the user's cache folder when None.
        agent: the agent that answers `POST /search`, and the command line's.
        embedding_model: a known model, a folder, or the name it has at `embedding_base_url`.
        embedding_precision: `"int8"` or `"fp32"`, for known models.
        embedding_base_url: an OpenAI-compatible server for embeddings; in process when None.
        embedding_api_key: that server's key.
        embedding_dim: the length of its vectors; asked of the server when None.
        generation_model: a known model, a .gguf file, or the name it has at `generation_base_url`.
        generation_base_url: an OpenAI-compatible server for answers; in process when None.
        generation_api_key: that server's key.
        generation_slots: answers written side by side.
        config: a TOML file that declares agents, collections and orchestrators (see `tenancy.config_file`).
        max_agents: agents one tenant may give settings to.
        max_collections: collections one tenant may have.
        max_open_collections: collections held open at once; the one not used for longest is closed for another.
        host: where to listen; beyond loopback only with keys, or tokens of an issuer.
        port: of REST; 0 lets the system choose.
        grpc: whether gRPC is served too.
        grpc_port: of gRPC, 0 lets the system choose; 50051 when None, or the system's choice where `port` is.
        tls_cert: a PEM file with the certificate chain of both; without one they speak plainly.
        tls_key: its private key.
        auth: whether callers need a credential; without, only loopback is listened on.
        jwt_jwks_url: where an issuer of tokens publishes its keys (JWKS); None when only API keys count.
        jwt_issuer: what the tokens' `iss` says; needed with `jwt_jwks_url`.
        jwt_audience: what their `aud` says or holds; needed with `jwt_jwks_url`.
        jwt_tenant_claim: the claim that names the tenant.
        jwt_scopes_claim: the claim with the scopes, as a list or separated by spaces.
        allowed_hosts: further names a request may carry in its `Host` header, beside those of loopback.
        allowed_origins: further origins, such as `https://app.example.org`, whose pages may call; the server's own may.
        cached_results: search results kept for equal questions, until something changes; 0 for none.
        cached_results_s: how long they are kept when nothing does.
        keep_embeddings: write the vectors of recent texts to `cache` below `data_dir`, so that a server that is started
            again has them; digests of texts, never texts.
        max_body_bytes: how long a request body may be.
        max_connections: REST connections held open at once; further ones are turned away.
        header_timeout_s: how long the headers of a request may take to arrive.
        body_timeout_s: how long its body may take after that.
        request_timeout_s: how long the work on a request may take; a `Request-Timeout` header may ask for less.
        searches_in_flight: searches and reads at work at once; a few more wait a moment, the rest is refused.
        writes_in_flight: the same for writes.
        generations_in_flight: the same for what a language model answers.
        rate_limit_per_key: units a minute of one credential; a call is one, and each text to store and each token to
            write is another. 0 for no limit.
        rate_limit_per_tenant: the same for all credentials of a tenant together.
        rate_limit_storage: where units are counted, as a URI of the `limits` package; in this process when None.
        linger_s: how long a server that was told to stop (SIGTERM) goes on taking requests, not ready any more.
        drain_s: how long what is under way then may take.
        log_level: of the server's own records.

    Raises (by `Settings.load`):
        ConfigurationError: a value is wrong; the message names the setting and its variable.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Path("saa-data")
    store: SecretStr | None = None
    models_dir: Path | None = None
    agent: str = "default"

    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    embedding_precision: Literal["int8", "fp32"] = "int8"
    embedding_base_url: str | None = None
    embedding_api_key: SecretStr | None = None
    embedding_dim: int | None = Field(default=None, ge=1, le=LIMITS.dim)

    generation_model: str = DEFAULT_GENERATION_MODEL
    generation_base_url: str | None = None
    generation_api_key: SecretStr | None = None
    generation_slots: int = Field(default=8, ge=1, le=256)

    config: Path | None = None
    max_agents: int = Field(default=1_000, ge=0)
    max_collections: int = Field(default=1_000, ge=0)
    max_open_collections: int = Field(default=64, ge=1, le=4_096)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    grpc: bool = True
    grpc_port: int | None = Field(default=None, ge=0, le=65_535)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    auth: bool = True
    jwt_issuer: str | None = None  # before the URL, whose check wants them
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = None
    jwt_tenant_claim: str = "tenant"
    jwt_scopes_claim: str = "scope"
    allowed_hosts: _Texts = ()
    allowed_origins: _Texts = ()
    cached_results: int = Field(default=4_096, ge=0, le=1_000_000)
    cached_results_s: float = Field(default=300.0, gt=0, le=86_400)
    keep_embeddings: bool = True
    max_body_bytes: int = Field(default=LIMITS.message_bytes, ge=1024)
    max_connections: int = Field(default=1_000, ge=1)
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    request_timeout_s: float = Field(default=600.0, gt=0, le=86_400)
    searches_in_flight: int = Field(default=80, ge=1, le=65_536)
    writes_in_flight: int = Field(default=64, ge=1, le=65_536)
    generations_in_flight: int = Field(default=32, ge=1, le=65_536)
    rate_limit_per_key: int = Field(default=1_200_000, ge=0)
    rate_limit_per_tenant: int = Field(default=4_800_000, ge=0)
    rate_limit_storage: SecretStr | None = None
    linger_s: float = Field(default=3.0, ge=0, le=3600)
    drain_s: float = Field(default=10.0, ge=0, le=3600)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("agent")
    @classmethod
    def _agent_is_a_name(cls, agent: str) -> str:
        return checked_name(agent, "agent")

    @field_validator("jwt_jwks_url")
    @classmethod
    def _keys_come_safely(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if not (info.data.get("jwt_issuer") and info.data.get("jwt_audience")):
            raise ValueError("tokens need jwt_issuer and jwt_audience too, or those for other services would pass")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("it must begin with https:// (or http:// on loopback)")
        return url

    @field_validator("allowed_origins")
    @classmethod
    def _origins_are_whole(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if re.fullmatch(r"https?://[^/?#@\s]+", origin) is None:
                raise ValueError("an origin is a scheme and a host, such as 'https://app.example.org', and no more")
        return origins

    @property
    def chosen_grpc_port(self) -> int | None:
        """Where gRPC is to listen; None for nowhere."""
        if not self.grpc:
            return None
        return self.grpc_port if self.grpc_port is not None else _GRPC_PORT if self.port else 0

    @property
    def server_dir(self) -> Path:
        """The folder of keys and whatever else only this server may read."""
        return self.data_dir / "server"

    @property
    def embedding_cache(self) -> Path | None:
        """The file of vectors that outlast a server; None when none is to be kept."""
        return self.data_dir / "cache" / "embeddings" if self.keep_embeddings else None

    @property
    def store_dir(self) -> Path:
        """The folder of the data folder's own store, and of the lock of all of it."""
        return self.data_dir / "store"

    @property
    def store_url(self) -> str:
        """The URL of the store that all agents share."""
        from super_advanced_agents.stores.opening import folder_url  # heavy, and not every command has a store

        return folder_url(self.store_dir) if self.store is None else self.store.get_secret_value()

    @property
    def has_own_store(self) -> bool:
        """Whether the shared store is the data folder's own."""
        from super_advanced_agents.stores.opening import folder_of

        folder = folder_of(self.store_url)
        return folder is not None and folder.absolute() == self.store_dir.absolute()

    @classmethod
    def load(cls, **given: object) -> Self:
        """Make settings from what was given (None counts as not given) and the environment."""
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**values)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0])
            cause = first.get("ctx", {}).get("error")
            why = cause.message if isinstance(cause, InvalidInputError) else first["msg"]
            raise ConfigurationError(
                f"the setting {name!r} is wrong: {why}", hint=f"it comes from an option or from {PREFIX}{name.upper()}"
            ) from exc


def checked_certificate(settings: Settings) -> tuple[bytes, bytes] | None:
    """The certificate chain and its private key as PEM; None where there are none. Reads files.

    Raises:
        ConfigurationError: only one is given, one cannot be read, or they do not belong together.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigurationError("a certificate needs its private key", hint="give both --tls-cert and --tls-key")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
        return cert.read_bytes(), key.read_bytes()
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigurationError(
            f"the certificate {str(cert)!r} with the key {str(key)!r} cannot be used: {exc.strerror or 'not PEM'}",
            hint="check --tls-cert and --tls-key: PEM files, the key without a password",
        ) from exc


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
