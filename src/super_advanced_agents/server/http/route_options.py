"""The arguments of FastAPI's `api_route`, taken from the table of server operations."""

from __future__ import annotations

import re
from typing import Any

from super_advanced_agents.protocol.operations import Operation

EXTENSION = "x-access"
"""The member of an OpenAPI operation that holds the scopes it needs, or `public`."""


def route_options(operation: Operation) -> dict[str, Any]:
    """Return an operation's arguments for `APIRouter.api_route`, such as path and status."""
    access = "public" if operation.public else " ".join(operation.access) or None
    return {
        "path": operation.path,
        "methods": [operation.verb],
        "status_code": operation.status,
        "operation_id": operation.name,
        "summary": re.sub(r"(?<!^)([A-Z])", r" \1", operation.name).title(),
        "openapi_extra": {EXTENSION: access},
    }
