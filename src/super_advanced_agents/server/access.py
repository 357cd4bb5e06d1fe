"""What a REST route asks of a credential."""

from __future__ import annotations

from typing import Any

from super_advanced_agents.tenancy.context import Access

EXTENSION = "x-access"
"""Where a route's rule stands in its OpenAPI operation."""


def needs(access: Access | None) -> dict[str, Any]:
    """The rule of a REST route, spread into its decorator: `@router.post("/search", **needs(Access.READ))`.

    None makes a route public. A route without a rule is refused to everybody, and fails a test.
    """
    return {"openapi_extra": {EXTENSION: "public" if access is None else access.value}}
