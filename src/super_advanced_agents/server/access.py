"""Who calls, and what a route or method asks of a credential."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import PermissionDeniedError

EXTENSION = "x-access"
"""Where a route's rule stands in its OpenAPI operation."""


class Access(StrEnum):
    """What a credential may be good for."""

    READ = "memories:read"
    WRITE = "memories:write"
    GENERATE = "generate"
    JOBS = "jobs"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls, by its credential alone; nothing in a request can change it.

    Attributes:
        tenant: whose data it sees, and no other's.
        scopes: what it may do there.
        key_id: the credential's name, for limits and logs; not a secret.
    """

    tenant: str
    scopes: frozenset[Access]
    key_id: str

    def allows(self, access: Access) -> bool:
        """Whether it may; `admin` may do everything in its own tenant."""
        return access in self.scopes or Access.ADMIN in self.scopes

    def require(self, access: Access) -> None:
        """Raise `PermissionDeniedError`, naming the scope, unless it may."""
        if not self.allows(access):
            raise PermissionDeniedError(
                f"this needs the scope {access.value!r}, which the credential does not have",
                hint=f"make one with `saa keys create --scope {access.value}`",
            )


ANYBODY = Principal(tenant=DEFAULT_TENANT, scopes=frozenset(Access), key_id="anybody")
"""Every caller of a server without authentication (`--no-auth`, loopback only)."""


def needs(access: Access | None) -> dict[str, Any]:
    """The rule of a REST route, spread into its decorator: `@router.post("/search", **needs(Access.READ))`.

    None makes a route public. A route without a rule is refused to everybody, and fails a test.
    """
    return {"openapi_extra": {EXTENSION: "public" if access is None else access.value}}
