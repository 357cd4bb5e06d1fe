"""The objects that REST, gRPC and MCP share in one server process."""

from __future__ import annotations

from dataclasses import dataclass, field

from super_advanced_agents._runtime.concurrency.slices import SliceWorker
from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.loop_pacing import LoopPacer
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.limits.sending import SendingAnswers
from super_advanced_agents.server.limits.shared import SharedLimits
from super_advanced_agents.server.observing.requests import RequestObserver
from super_advanced_agents.server.storage_watch import StorageWatch
from super_advanced_agents.tenancy.runtime import Runtime, Stage
from super_advanced_agents.tenancy.workspace import Workspaces

_MAX_CONVERSIONS = 16_384
"""More than there are requests and answers, which have one conversion each at most."""


@dataclass(slots=True, kw_only=True)
class Services:
    """Hold the objects that all requests share, created once before the server listens.

    Attributes:
        runtime: the store, the models and the agents.
        authenticator: finds the principal of a credential.
        admission: the permits of each kind; a request holds one while the server works on it.
        limiter: the rate limits of keys and tenants; a request is charged once its principal is known.
        idempotency: the stored replies of writes that were sent with an `Idempotency-Key`.
        jobs: the background jobs; None in a process without.
        shared: the limits that replicas share; None if there is one.
        storage: checks that no database has lost a file; None to leave that to the writes.
        workspaces: the agents and collections of each tenant.
        audit: names who changed what; None to keep no such log.
        observer: counts, times and logs each request.
        sending: the bytes of long answers that clients have not read yet.
        conversions: parses long bodies, and converts large requests and results, off the event loop.
        pacer: lets requests begin while passes of the event loop are short.
        draining: True once the server is stopping: it still answers requests, but reports that it is not ready.
    """

    runtime: Runtime
    authenticator: Authenticator
    admission: Admission
    limiter: RateLimiter
    idempotency: Idempotency
    audit: AuditLog | None = None
    observer: RequestObserver = field(default_factory=RequestObserver)
    sending: SendingAnswers = field(default_factory=SendingAnswers)
    conversions: SliceWorker = field(
        default_factory=lambda: SliceWorker(name="server conversions", max_queue=_MAX_CONVERSIONS)
    )
    pacer: LoopPacer = field(default_factory=LoopPacer)
    jobs: Jobs | None = None
    shared: SharedLimits | None = None
    storage: StorageWatch | None = None
    draining: bool = False
    workspaces: Workspaces = field(init=False)

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.runtime)

    async def arefresh(self) -> None:
        """Read what other servers have changed, before the work on a request."""
        if self.runtime.state is not None:
            await self.runtime.catalog.arefresh()

    @property
    def ready(self) -> bool:
        """True once the embedding model is loaded, until the server stops or loses a file."""
        return self.runtime.embedding is Stage.READY and not self.draining and not self.storage_lost

    @property
    def degraded(self) -> list[str]:
        """The parts that work less well than they should, though requests are answered."""
        degraded = []
        if self.engine_away:
            degraded.append("the engine of the store does not answer: reads and writes are refused until it does")
        if self.shared is not None and not self.shared.up:
            replicas = self.shared.replicas
            degraded.append(f"Valkey does not answer: each of {replicas} replicas enforces its own share of the limits")
        embedding, generation = self.runtime.pipeline.server_status(), self.runtime.generator.server_status()
        for kind, servers in (("embedding", embedding), ("generation", generation)):
            down = [place for place, server in enumerate(servers, 1) if not server.up]
            if down:  # by their places in the settings: anybody may ask, and addresses are not for everybody
                numbers = ", ".join(map(str, down))
                degraded.append(
                    f"of {len(servers)} {kind} servers, number {numbers} failed and is left out for a while"
                )
        return degraded

    @property
    def engine_away(self) -> bool:
        """True while the engine of the store, or the database of keys, does not answer."""
        keys = self.authenticator.keys
        keys_away = keys is not None and self.runtime.state is not None and not keys.readable
        return keys_away or not self.runtime.engine_reachable

    @property
    def storage_lost(self) -> bool:
        """True while a database has lost a file, so that its writes are refused."""
        return self.storage is not None and self.storage.failing
