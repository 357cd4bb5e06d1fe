"""What an operation of the table says about its REST route."""

from __future__ import annotations

import re
from typing import Any

from super_advanced_agents.protocol.operations import Operation

EXTENSION = "x-access"
"""Where a route's rule stands in its OpenAPI operation."""


def served(operation: Operation) -> dict[str, Any]:
    """Return how an operation is registered: `@router.api_route(**served(ops.HEALTH))`."""
    access = "public" if operation.public else None if operation.access is None else operation.access.value
    return {
        "path": operation.path,
        "methods": [operation.verb],
        "status_code": operation.status,
        "operation_id": operation.name,
        "summary": re.sub(r"(?<!^)([A-Z])", r" \1", operation.name).title(),
        "openapi_extra": {EXTENSION: access},
    }
