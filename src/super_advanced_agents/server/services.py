"""What every call passes on its way in, whether it came over REST or gRPC: the same objects for both."""

from __future__ import annotations

from dataclasses import dataclass, field

from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspaces


@dataclass(slots=True, kw_only=True)
class Services:
    """Made once for a server, before it listens.

    Attributes:
        engines: what answers.
        authenticator: tells whose a call is.
        admission: places for calls; entered before anything else of a call is looked at.
        limiter: the allowances of keys and tenants; a call is charged once its caller is known.
        idempotency: what became of writes that came with a key.
        workspaces: what the callers' tenants have.
        draining: the server was told to stop: it answers, and says that it is not ready for more.
    """

    runtime: Runtime
    authenticator: Authenticator
    admission: Admission
    limiter: RateLimiter
    idempotency: Idempotency
    draining: bool = False
    workspaces: Workspaces = field(init=False)

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.runtime)
