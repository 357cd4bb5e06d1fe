"""The settings of a process, from arguments and environment variables (`SAA_...`)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from super_advanced_agents.config import (
    DEFAULT_EMBEDDING_MODEL,
    DEFAULT_GENERATION_MODEL,
    LIMITS,
    SERVER_FOLDER,
    STORE_DATABASE,
    STORE_FOLDER,
    checked_agent_name,
)
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.tenancy.configuration.secret_files import secrets_from_files
from super_advanced_agents.tenancy.configuration.values import (
    Hosts,
    OptionalList,
    OptionalSecrets,
    Origins,
    Proxies,
    Queues,
    RootPath,
    TextList,
    is_loopback,
)
from super_advanced_agents.tenancy.data_folder.place import LOCAL_FOLDER

PREFIX = "SAA_"
_GRPC_PORT = 50_051
_EMBEDDING = {"embedding_model", "embedding_precision", "embedding_base_url"}


class Settings(BaseSettings):
    """Hold the settings of one process, from arguments and `SAA_...` environment variables.

    Each setting has an environment variable, `SAA_` and its name in capitals. Arguments override environment variables,
    which override the defaults. `load` raises `ConfigurationError` for an invalid value, with the name of the setting
    and of its variable.

    Attributes:
        data_dir: the folder of all persistent data; the default store is in its `store` subfolder. Commands
            use `./saa-data` if it exists, else the user's data folder for this package.
        store: the URL of the store that all agents share, such as `faiss:./folder`; the one in `data_dir` when None.
            `SAA_STORE_URL` is another name of the variable.
        state: the URL of the PostgreSQL database of the catalog, the API keys and idempotent requests, which servers
            share; that of the store when None and it is PostgreSQL, else the data folder.
        models_dir: the folder of all models; the user's cache folder when None.
        text_language: the language of all texts in Latin script for keyword search, such as `de`; the language of each
            text is recognized when None. Texts that are indexed already keep their terms.
        agent: the default agent, which answers `POST /search` and the command line.
        embedding_model: a model of the registry, a folder with a model, or the model's name at `embedding_base_url`;
            `load_for_folder` takes the one of the data folder's memories when none is given.
        embedding_precision: the weights of registry models, `"int8"` or `"fp32"`.
        embedding_base_url: the URL of an OpenAI-compatible server for embeddings, or of several with the same model
            (docs/scaling.md); None to embed in this process.
        embedding_api_key: the API key of that server; of several, one for all or one for each.
        embedding_dim: the dimension of that server's vectors; requested from the server when None.
        embedding_dask: the address of a Dask scheduler, such as `tls://host:8786`, on whose workers `embedding_model`
            runs (docs/scaling.md), with the extra `dask`; None to embed in this process.
        generation_model: a model of the registry, a .gguf file, or the model's name at `generation_base_url`.
        generation_base_url: the URL or URLs of servers for generation, likewise; None to generate in this process.
        generation_api_key: the API key of that server; of several, one for all or one for each.
        generation_slots: the number of answers that the language model generates concurrently; 2 in this process and 8
            for each of `generation_base_url` when None. One tenant gets at most three quarters, and never all of two.
        config: the TOML file that declares agents, collections and orchestrators (see `tenancy.config_file`).
        max_agents: the number of agents with settings that one tenant may have.
        max_collections: the number of collections that one tenant may have.
        max_open_collections: the number of collections open at once, of which one tenant gets at most three quarters;
            beyond it the least recently used one of the tenant with the most is closed.
        host: the address to listen on; addresses beyond loopback require API keys or a token issuer.
        port: the port of REST; 0 for a free port.
        grpc: serve gRPC as well.
        grpc_port: the port of gRPC, 0 for a free port; when None 50051, or a free port if `port` is 0.
        reuse_port: let other servers of this user listen on the same ports, as `saa serve --workers` does.
        grpc_reflection: answer the gRPC reflection service, which describes the methods to anybody.
        tls_cert: the PEM file with the certificate chain for REST and gRPC; None to serve without TLS.
        tls_key: the PEM file with the private key of `tls_cert`, without a password.
        admin_key: an API key that `saa keys generate` made: valid with all scopes from the first start on.
        metrics_key: the same for the scope `metrics`, which reads metrics and nothing else.
        auth: require a credential for every request; turning it off is allowed on loopback only.
        jwt_jwks_url: the URL of the token issuer's public keys (JWKS); None to accept API keys only.
        jwt_issuer: the required `iss` claim of tokens; must be set with `jwt_jwks_url`.
        jwt_audience: the required `aud` claim of tokens, or one of its values; must be set with `jwt_jwks_url`.
        jwt_tenant_claim: the claim that names the tenant.
        jwt_scopes_claim: the claim with the scopes, as a list or separated by spaces.
        allowed_hosts: the names and addresses in `Host` headers to accept besides those of loopback, without ports.
        allowed_origins: the origins, such as `https://app.example.org`, to accept besides the server's own (CORS).
        trusted_proxies: the addresses and networks of reverse proxies whose `X-Forwarded-For` names the caller.
        root_path: the path under which a reverse proxy serves REST, such as `/saa`; it may be sent or stripped.
        cached_results: the number of search results to cache; 0 disables the cache.
        cached_results_s: the time to live of a cached search result in seconds; writes invalidate it at once.
        keep_embeddings: save vectors of recent texts (with digests, not texts) in `data_dir/cache` for restarts.
        max_body_bytes: the maximum size of a request body in bytes.
        max_connections: the maximum number of open REST connections, and of gRPC connections; idle ones are closed
            for new ones, those without a valid credential first, and without any further ones are refused.
        max_connections_per_address: how many of each may come from one address without having shown a valid
            credential, half of `max_connections` when None; callers behind a reverse proxy share its address.
        header_timeout_s: the time within which the headers of a request must arrive, in seconds.
        body_timeout_s: the time within which the body must arrive after the headers, in seconds.
        body_stall_s: the time within which each further 64 KiB of a body must arrive, in seconds.
        write_timeout_s: the time within which a client must read what waits for it, in seconds; then it is dropped.
        request_timeout_s: the time limit of one request in seconds; a `Request-Timeout` header can shorten it.
        search_s: the seconds of work that one search, count or page may take; the time in queues does not count.
        stream_idle_s: the time within which the next message of a gRPC stream must arrive, in seconds.
        streams_per_tenant: the number of gRPC streams of messages that one tenant may have open.
        searches_in_flight: the number of concurrent searches and reads; a few more wait briefly, the rest is refused.
        writes_in_flight: the number of concurrent writes, limited in the same way.
        generations_in_flight: the number of concurrent requests to the language model, limited in the same way.
        rate_limit_per_key: units per minute of one credential (`docs/security.md`); 0 for no limit.
        rate_limit_per_tenant: units per minute of all credentials of a tenant together; 0 for no limit.
        shared_limits: the URL of the Valkey in which replicas share rate limits and permits, `valkey://host:6379`; the
            `..._in_flight`, `streams_per_tenant` and `rate_limit_...` are those of all replicas together then.
        jobs: the URL of the PostgreSQL database of background jobs; when None, that of the servers' shared
            state, else a file in `data_dir/jobs`.
        job_modules: the modules with further kinds of jobs, which are imported at the start.
        job_queues: the queues whose jobs this process runs, each with the number that run at once, as
            `default=8,bulk=1`; empty to run none, as where `saa worker` does.
        max_queued_jobs: the number of jobs of one tenant that may wait.
        max_running_jobs: the number of jobs of one tenant that may run at once.
        max_schedules: the number of schedules that one tenant may have.
        max_upload_bytes: the maximum size of one upload in bytes.
        max_uploads_bytes: the maximum size of all uploads of one tenant in bytes; 0 refuses uploads.
        job_lease_s: the time without a heartbeat after which a worker's jobs are given to others, in seconds.
        jobs_kept_s: how long ended jobs are kept, in seconds; failed ones are kept four times as long.
        files_dir: the folder with a folder of files for each tenant, for imports and exports; `data_dir/files` when
            None.
        backups_dir: the folder of the backups that jobs make; `data_dir/backups` when None.
        migrate_to: the URL of the store to which the job `migrate` copies everything; None for none.
        webhook_secret: the key that signs what jobs send to webhooks; None to send nothing.
        webhook_private: allow webhooks in private networks, and over plain HTTP.
        linger_s: how long requests are accepted after SIGTERM, while readiness checks already fail, in seconds.
        drain_s: how long running requests then may take to finish, in seconds.
        log_level: the level of the server's own log records; SIGUSR1 and SIGUSR2 change it while the server runs.
        log_format: `"console"` for lines to read, or `"json"` for one JSON object a line.
        access_log: write a line for each request, without what it says.
        slow_request_s: the seconds, without those of the language model, from which on a request is logged as slow.
        audit: whose requests the audit log in `data_dir/audit` names: `"changes"` (with exports), `"all"` or `"off"`.
        audit_lines: write each entry of the audit log as a log line too, for processes whose data folder does not last.
        audit_fails_closed: refuse what the audit log would have to show while it cannot be written.
        traces_endpoint: the URL that takes traces by OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces` (with
            the extra `traces`); None for no traces.
        traces_sampled: the share of requests without a sampled caller that are traced, 0 to 1.
        metrics_port: the port of metrics alone, 0 for a free one; None to serve them at `/metrics` of REST only.
        metrics_host: the address of that port; beyond loopback a scrape needs a key with the scope `metrics`.
        metrics_tenants: the tenants whose requests are counted by name, at most 100.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = LOCAL_FOLDER
    store: SecretStr | None = None
    state: SecretStr | None = None
    models_dir: Path | None = None
    text_language: str | None = None
    agent: str = "default"

    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    embedding_precision: Literal["int8", "fp32"] = "int8"
    embedding_base_url: OptionalList = None
    embedding_api_key: OptionalSecrets = None
    embedding_dim: int | None = Field(default=None, ge=1, le=LIMITS.dim)
    embedding_dask: str | None = None

    generation_model: str = DEFAULT_GENERATION_MODEL
    generation_base_url: OptionalList = None
    generation_api_key: OptionalSecrets = None
    generation_slots: int | None = Field(default=None, ge=1, le=256)

    config: Path | None = None
    max_agents: int = Field(default=1_000, ge=0)
    max_collections: int = Field(default=1_000, ge=0)
    max_open_collections: int = Field(default=64, ge=1, le=4_096)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    grpc: bool = True
    grpc_port: int | None = Field(default=None, ge=0, le=65_535)
    reuse_port: bool = False
    grpc_reflection: bool = True
    tls_cert: Path | None = None
    tls_key: Path | None = None
    admin_key: SecretStr | None = None
    metrics_key: SecretStr | None = None
    auth: bool = True
    jwt_issuer: str | None = None  # before the URL, whose validator reads both
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = None
    jwt_tenant_claim: str = "tenant"
    jwt_scopes_claim: str = "scope"
    allowed_hosts: Hosts = ()
    allowed_origins: Origins = ()
    trusted_proxies: Proxies = ()
    root_path: RootPath = ""
    cached_results: int = Field(default=4_096, ge=0, le=1_000_000)
    cached_results_s: float = Field(default=300.0, gt=0, le=86_400)
    keep_embeddings: bool = True
    max_body_bytes: int = Field(default=LIMITS.message_bytes, ge=1024)
    max_connections: int = Field(default=1_000, ge=1)
    max_connections_per_address: int | None = Field(default=None, ge=1)
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    body_stall_s: float = Field(default=5.0, gt=0, le=3600)
    write_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    request_timeout_s: float = Field(default=600.0, gt=0, le=86_400)
    search_s: float = Field(default=10.0, gt=0, le=3600)
    stream_idle_s: float = Field(default=60.0, gt=0, le=3600)
    streams_per_tenant: int = Field(default=16, ge=1, le=65_536)
    searches_in_flight: int = Field(default=80, ge=1, le=65_536)
    writes_in_flight: int = Field(default=64, ge=1, le=65_536)
    generations_in_flight: int = Field(default=32, ge=1, le=65_536)
    rate_limit_per_key: int = Field(default=1_200_000, ge=0)
    rate_limit_per_tenant: int = Field(default=4_800_000, ge=0)
    shared_limits: SecretStr | None = None
    jobs: SecretStr | None = None
    job_modules: TextList = ()
    job_queues: Queues = Field(default_factory=lambda: {"default": 8, "bulk": 1})
    max_queued_jobs: int = Field(default=10_000, ge=0, le=1_000_000)
    max_running_jobs: int = Field(default=4, ge=1, le=65_536)
    max_schedules: int = Field(default=100, ge=0, le=65_536)
    max_upload_bytes: int = Field(default=1024**3, ge=1024)
    max_uploads_bytes: int = Field(default=4 * 1024**3, ge=0)
    job_lease_s: float = Field(default=10.0, ge=2, le=3600)
    jobs_kept_s: float = Field(default=7 * 86_400.0, ge=0, le=366 * 86_400)
    files_dir: Path | None = None
    backups_dir: Path | None = None
    migrate_to: SecretStr | None = None
    webhook_secret: SecretStr | None = Field(default=None, min_length=16)
    webhook_private: bool = False
    linger_s: float = Field(default=3.0, ge=0, le=3600)
    drain_s: float = Field(default=10.0, ge=0, le=3600)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    access_log: bool = True
    slow_request_s: float = Field(default=2.0, gt=0, le=3600)
    audit: Literal["off", "changes", "all"] = "changes"
    audit_lines: bool = False
    audit_fails_closed: bool = False
    traces_endpoint: SecretStr | None = None
    traces_sampled: float = Field(default=1.0, ge=0, le=1)
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    metrics_host: str = "127.0.0.1"
    metrics_tenants: TextList = Field(default=(), max_length=100)

    @field_validator("agent")
    @classmethod
    def _check_agent(cls, agent: str) -> str:
        return checked_agent_name(agent, "agent")

    @field_validator("embedding_dask")
    @classmethod
    def _check_dask(cls, scheduler: str | None, info: ValidationInfo) -> str | None:
        if scheduler is not None and info.data.get("embedding_base_url"):
            raise ValueError("it and embedding_base_url exclude each other: choose one")
        return scheduler

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if not (info.data.get("jwt_issuer") and info.data.get("jwt_audience")):
            raise ValueError("it needs jwt_issuer and jwt_audience too, or tokens for other services would be accepted")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("it must begin with https:// (or http:// on loopback)")
        return url

    @field_validator("traces_endpoint")
    @classmethod
    def _check_collector(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and re.fullmatch(r"https?://[^/?#\s]+(/\S*)?", url.get_secret_value()) is None:
            raise ValueError("it must be a URL such as http://127.0.0.1:4318/v1/traces")
        return url

    @property
    def chosen_grpc_port(self) -> int | None:
        """The port to serve gRPC on: 0 for any free port, None when gRPC is off."""
        if not self.grpc:
            return None
        return self.grpc_port if self.grpc_port is not None else _GRPC_PORT if self.port else 0

    @property
    def max_unauthenticated(self) -> int:
        """The number of connections without a valid credential that one address may have."""
        return self.max_connections_per_address or (self.max_connections + 1) // 2

    @property
    def server_dir(self) -> Path:
        """The folder of API keys and other files that only this server may read."""
        return self.data_dir / SERVER_FOLDER

    @property
    def files_folder(self) -> Path:
        """The folder with a folder of files for each tenant."""
        return self.files_dir or self.data_dir / "files"

    @property
    def embedding_cache(self) -> Path | None:
        """The file that keeps embeddings of recent texts across restarts; None when turned off."""
        return self.data_dir / "cache" / "embeddings" if self.keep_embeddings else None

    @property
    def store_dir(self) -> Path:
        """The folder of the default store, and of the lock file of the whole data folder."""
        return self.data_dir / STORE_FOLDER

    @property
    def store_url(self) -> str:
        """The URL of the vector store that all agents share, such as `faiss:./folder`."""
        from super_advanced_agents.stores.opening import folder_url  # heavy, and not every command has a store

        return folder_url(self.store_dir) if self.store is None else self.store.get_secret_value()

    @property
    def has_own_store(self) -> bool:
        """True when the store that all agents share is the default one, in the data folder."""
        from super_advanced_agents.stores.opening import folder_of

        folder = folder_of(self.store_url)
        return folder is not None and folder.absolute() == self.store_dir.absolute()

    @classmethod
    def load(cls, **values: object) -> Self:
        """Load and validate the settings of arguments, variables and files of secrets.

        Args:
            values: settings by name; None counts as not given.

        Raises:
            ConfigurationError: a value is invalid; the message names the setting and its variable. A secret's file
                cannot be read.
        """
        secrets = secrets_from_files(_SECRETS, prefix=PREFIX)
        if (url := os.environ.get(_STORE_URL)) and f"{PREFIX}STORE" not in os.environ:
            secrets.setdefault("store", url)
        arguments: dict[str, Any] = {**secrets, **{name: value for name, value in values.items() if value is not None}}
        try:
            return cls(**arguments)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0])
            cause = first.get("ctx", {}).get("error")
            why = cause.message if isinstance(cause, InvalidInputError) else first["msg"].removeprefix("Value error, ")
            raise ConfigurationError(
                f"the setting {name!r} is wrong: {why}", hint=f"it comes from an option or from {PREFIX}{name.upper()}"
            ) from exc

    @classmethod
    def load_for_folder(cls, **values: object) -> Self:
        """Load the settings for work on the data folder, with the model that made its vectors.

        An embedding model that an argument or a variable names goes before the folder's. Blocks while it reads a row.

        Args:
            values: settings by name; None counts as not given.

        Raises:
            ConfigurationError: a value is invalid; the message names the setting and its variable.
        """
        settings = cls.load(**values)
        if not settings.model_fields_set.isdisjoint(_EMBEDDING) or not settings.has_own_store:
            return settings
        if not (settings.store_dir / STORE_DATABASE).is_file():
            return settings
        from super_advanced_agents.models import known_model
        from super_advanced_agents.stores.local.maintenance import model_id_in  # heavy

        found = known_model(model_id_in(settings.store_dir))
        if found is None:
            return settings
        return cls.load(**values | {"embedding_model": found[0], "embedding_precision": found[1]})


_STORE_URL = "SAA_STORE_URL"
_SECRETS = tuple(
    name
    for name, field in Settings.model_fields.items()
    if {SecretStr, tuple[SecretStr, ...]} & set(get_args(field.annotation))
)
