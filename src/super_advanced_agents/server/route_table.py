"""Lookup of the requested operation, by HTTP method and path or by gRPC method name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.routing import compile_path

from super_advanced_agents.protocol.operations import BY_RPC, OPERATIONS, Operation, PermitKind

_STANDARD = Operation(name="standard", verb="", path="", public=True, permit=None, bounded=False)
"""The operation of the health and reflection methods; a `Watch` has no deadline."""

_BY_RPC: Mapping[str, Operation] = MappingProxyType(
    {
        **BY_RPC,
        "/grpc.health.v1.Health/Check": _STANDARD,
        "/grpc.health.v1.Health/Watch": _STANDARD,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _STANDARD,
    }
)


def rpc_operation(method: str) -> Operation:
    """Return the operation, with its access rule and limits, of a gRPC method.

    Args:
        method: the full name, `/package.Service/Method`.

    Raises:
        LookupError: no operation has this method; a server that registers it does not start.
    """
    return _BY_RPC[method]


class RouteTable:
    """Look up the REST operations by HTTP method and path.

    Args:
        operations: the operations to search; those without a path belong to gRPC alone and are left out.
    """

    def __init__(self, operations: Iterable[Operation] = OPERATIONS) -> None:
        paths: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            if operation.path:
                paths.setdefault(operation.path, {})[operation.verb] = operation
        self._static = {path: verbs for path, verbs in paths.items() if "{" not in path}
        self._patterns: dict[str, list[tuple[re.Pattern[str], dict[str, Operation]]]] = {}
        for path in paths.keys() - self._static.keys():
            prefix = _path_prefix(path)
            pattern = (compile_path(path)[0], paths[path])
            self._patterns.setdefault("" if "{" in prefix else prefix, []).append(pattern)

    def find(self, verb: str, path: str) -> Operation | frozenset[str]:
        """Return the operation for an HTTP method and a path, else the methods the path allows.

        Returns:
            The operation; otherwise the path's verbs (status 405), or an empty set for an unknown path (status 404).
        """
        verbs = self._static.get(path, {})
        if verb in verbs:
            return verbs[verb]
        allowed = frozenset(verbs)
        for prefix in (_path_prefix(path), ""):
            for regex, operations in self._patterns.get(prefix, ()):
                if regex.match(path):
                    if verb in operations:
                        return operations[verb]
                    allowed |= operations.keys()
        return allowed


def permit_of(operation: Operation | frozenset[str]) -> PermitKind | None:
    """Return the kind of concurrency permit that a request needs, or None if it needs none.

    A request without an operation needs none: it is refused once its caller is known.

    Args:
        operation: a result of `RouteTable.find`.
    """
    return operation.permit if isinstance(operation, Operation) else None


def _path_prefix(path: str) -> str:
    # Patterns are grouped by the first two parts of their path, so that a request is matched against few of them.
    return "/".join(path.split("/", 3)[:3])


ROUTES = RouteTable()
"""The route table of all operations."""
