"""Which operation of the table a call asks for: by verb and path over REST, by the method's full name over gRPC."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.routing import compile_path

from super_advanced_agents.protocol.operations import BY_RPC, OPERATIONS, Operation, PermitKind

_STANDARD = Operation(name="standard", verb="", path="", public=True, permit=None, bounded=False)
"""Methods that gRPC's own tools expect everywhere; a `Watch` lasts as long as its caller likes."""

_BY_RPC: Mapping[str, Operation] = MappingProxyType(
    {
        **BY_RPC,
        "/grpc.health.v1.Health/Check": _STANDARD,
        "/grpc.health.v1.Health/Watch": _STANDARD,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _STANDARD,
    }
)


def rpc_operation(method: str) -> Operation:
    """Return the operation of a gRPC method by its full name, `/package.Service/Method`.

    Raises:
        LookupError: the table has none; a server that would serve it does not start.
    """
    return _BY_RPC[method]


class RouteTable:
    """Finds the operation that a REST request asks for.

    Args:
        operations: those with a path are found.
    """

    def __init__(self, operations: Iterable[Operation] = OPERATIONS) -> None:
        paths: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            if operation.path:
                paths.setdefault(operation.path, {})[operation.verb] = operation
        self._static = {path: verbs for path, verbs in paths.items() if "{" not in path}
        self._patterns: dict[str, list[tuple[re.Pattern[str], dict[str, Operation]]]] = {}
        for path in paths.keys() - self._static.keys():
            beginning = _beginning(path)
            pattern = (compile_path(path)[0], paths[path])
            self._patterns.setdefault("" if "{" in beginning else beginning, []).append(pattern)

    def find(self, verb: str, path: str) -> Operation | frozenset[str]:
        """Return the operation; where there is none, the verbs that the path knows: none at all for no such path."""
        verbs = self._static.get(path, {})
        if verb in verbs:
            return verbs[verb]
        others = frozenset(verbs)
        for beginning in (_beginning(path), ""):
            for regex, known in self._patterns.get(beginning, ()):
                if regex.match(path):
                    if verb in known:
                        return known[verb]
                    others |= known.keys()
        return others


def permit_of(found: Operation | frozenset[str]) -> PermitKind | None:
    """Return what kind of permit a call needs; one that no operation answers is refused under a permit for searches."""
    return found.permit if isinstance(found, Operation) else PermitKind.SEARCH


def _beginning(path: str) -> str:
    """The first two parts of a path: they choose the patterns to compare it with."""
    return "/".join(path.split("/", 3)[:3])


ROUTES = RouteTable()
"""Those of the table."""
