"""What each REST route and each gRPC method asks of a credential: one table, read off the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from super_advanced_agents.errors import PermissionDeniedError
from super_advanced_agents.server.access import EXTENSION, Access, Principal

ANY_METHOD = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of a credential.

    Attributes:
        access: the scope it must have; None when any valid one will do.
        public: none is needed.
        closed: nobody is let in: whoever wrote the route forgot to say who may.
    """

    access: Access | None = None
    public: bool = False
    closed: bool = False

    def check(self, principal: Principal) -> None:
        """Raise `PermissionDeniedError` unless it may."""
        if self.closed:
            raise PermissionDeniedError("nobody may call this: it has no rule", hint="this is a fault of the server")
        if self.access is not None:
            principal.require(self.access)


PUBLIC = Rule(public=True)
SOMEBODY = Rule()
CLOSED = Rule(closed=True)

PATHS: Mapping[str, Rule] = MappingProxyType({"/openapi.json": PUBLIC, "/mcp": SOMEBODY})
"""The rules of what is not a route of ours and so cannot say `needs(...)`: mounts, and what the framework adds.

An MCP client lists tools before it calls one; each tool asks for its scope itself.
"""

_GRPC: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"/grpc\.health\.v1\.Health/(Check|Watch|List)", PUBLIC),
        (r"/grpc\.reflection\.v1(alpha)?\.ServerReflection/ServerReflectionInfo", PUBLIC),
        (
            r"/super_advanced_agents\.v1\.VectorStoreService/(Get|Search|Count|Scan|Stats|List)[A-Za-z]*",
            Rule(Access.READ),
        ),
        (r"/super_advanced_agents\.v1\.VectorStoreService/(Add|Put|Update|Delete|Create)[A-Za-z]*", Rule(Access.WRITE)),
        (r"/super_advanced_agents\.v1\.AgentService/(Search|Get|List|Count)[A-Za-z]*", Rule(Access.READ)),
        (
            r"/super_advanced_agents\.v1\.AgentService/(Add|Remember|Update|Forget|Create|Delete|Put)[A-Za-z]*",
            Rule(Access.WRITE),
        ),
        (r"/super_advanced_agents\.v1\.AgentService/Ask[A-Za-z]*", Rule(Access.GENERATE)),
        (r"/super_advanced_agents\.v1\.OrchestratorService/[A-Za-z]+", Rule(Access.GENERATE)),
    )
)


def grpc_rule(method: str) -> Rule:
    """The rule of a gRPC method by its full name (`/package.Service/Method`); `CLOSED` for one that nobody foresaw."""
    return next((rule for pattern, rule in _GRPC if pattern.fullmatch(method)), CLOSED)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    regex: re.Pattern[str]
    methods: frozenset[str]
    rule: Rule


class RouteRules:
    """The rules of an application's routes, found by path and method as its router would find the route.

    Args:
        routes: the application's, routers that it includes among them.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.entries = tuple(_entries(routes))
        self._by_beginning: dict[str, tuple[_Entry, ...]] = {}
        self._others = tuple(entry for entry in self.entries if not _beginning(entry.path))
        for beginning in {_beginning(entry.path) for entry in self.entries} - {""}:
            self._by_beginning[beginning] = tuple(
                entry for entry in self.entries if _beginning(entry.path) in ("", beginning)
            )
        self._static = {
            entry.path: {method: self._found(method, entry.path) for method in entry.methods}
            for entry in self.entries
            if "{" not in entry.path and ANY_METHOD not in entry.methods
        }

    def of(self, method: str, path: str) -> Rule | frozenset[str]:
        """The rule; where there is none, the methods that the path knows: none at all when there is no such path."""
        known = self._static.get(path)
        if known is not None:
            rule = known.get(method)
            if rule is not None:
                return rule
        return self._found(method, path)

    def _found(self, method: str, path: str) -> Rule | frozenset[str]:
        others: frozenset[str] = frozenset()
        for entry in self._by_beginning.get("/".join(path.split("/", 3)[:3]), self._others):
            if entry.regex.match(path):
                if method in entry.methods or ANY_METHOD in entry.methods:
                    return entry.rule
                others |= entry.methods
        return others


def _beginning(path: str) -> str:
    """The first two parts of a path, when they are the same for all requests: they choose whom to compare with."""
    parts = path.split("/", 3)
    return "/".join(parts[:3]) if len(parts) >= 3 and "{" not in parts[1] + parts[2] else ""


def _entries(routes: Sequence[BaseRoute]) -> Iterator[_Entry]:
    for context in iter_route_contexts(routes):
        path = context.path
        if path is None:
            continue
        methods = frozenset(context.methods or ())
        if isinstance(context.original_route, APIRoute):
            said = (context.openapi_extra or {}).get(EXTENSION)
            rule = CLOSED if said is None else PUBLIC if said == "public" else Rule(Access(said))
        else:
            rule = PATHS.get(path, CLOSED)
            methods = methods or frozenset({ANY_METHOD})
        yield _Entry(path, context.path_regex, methods, rule)
