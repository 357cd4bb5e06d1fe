"""What each REST route and each gRPC method asks of a credential: one table, read off the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from super_advanced_agents.errors import PermissionDeniedError
from super_advanced_agents.server.access import EXTENSION
from super_advanced_agents.tenancy.context import Access, Principal

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

PATHS: Mapping[str, Rule] = MappingProxyType({"/openapi.json": PUBLIC, "/mcp": SOMEBODY, "/mcp/{agent}": SOMEBODY})
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
        (r"/super_advanced_agents\.v1\.AgentService/(Put|Create|Delete)Agent", Rule(Access.ADMIN)),
        (r"/super_advanced_agents\.v1\.AgentService/(Search|Get|List|Count)[A-Za-z]*", Rule(Access.READ)),
        (
            r"/super_advanced_agents\.v1\.AgentService/(Add|Remember|Update|Forget)[A-Za-z]*",
            Rule(Access.WRITE),
        ),
        (r"/super_advanced_agents\.v1\.AgentService/Ask[A-Za-z]*", Rule(Access.GENERATE)),
        (r"/super_advanced_agents\.v1\.OrchestratorService/(Supervise|List|Get)[A-Za-z]*", Rule(Access.READ)),
        (
            r"/super_advanced_agents\.v1\.OrchestratorService/(Route|Chain|Fallback|Parallel|Collaborate)[A-Za-z]*",
            Rule(Access.GENERATE),
        ),
    )
)


def grpc_rule(method: str) -> Rule:
    """The rule of a gRPC method by its full name (`/package.Service/Method`); `CLOSED` for one that nobody foresaw."""
    return next((rule for pattern, rule in _GRPC if pattern.fullmatch(method)), CLOSED)


@dataclass(frozen=True, slots=True)
class Entry:
    """The routes of one path that stand one after the other.

    Attributes:
        path: as the routes write it.
        rules: by method; `ANY_METHOD` stands for all.
    """

    path: str
    rules: Mapping[str, Rule]
    regex: re.Pattern[str] = field(repr=False)


class RouteRules:
    """The rules of an application's routes, found by path and method as its router would find the route.

    Args:
        routes: the application's, routers that it includes among them.

    Attributes:
        entries: in the router's order.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.entries = tuple(_entries(routes))
        self._others = tuple(entry for entry in self.entries if not _beginning(entry.path))
        self._by_beginning = {
            beginning: tuple(entry for entry in self.entries if _beginning(entry.path) in ("", beginning))
            for beginning in {_beginning(entry.path) for entry in self.entries} - {""}
        }
        self._static = {
            entry.path: {method: self._found(method, entry.path) for method in entry.rules}
            for entry in self.entries
            if "{" not in entry.path and ANY_METHOD not in entry.rules
        }

    def of(self, method: str, path: str) -> Rule | frozenset[str]:
        """The rule; where there is none, the methods that the path knows: none at all when there is no such path."""
        known = self._static.get(path)
        rule = None if known is None else known.get(method)
        return self._found(method, path) if rule is None else rule

    def _found(self, method: str, path: str) -> Rule | frozenset[str]:
        others: frozenset[str] = frozenset()
        for entry in self._by_beginning.get("/".join(path.split("/", 3)[:3]), self._others):
            if entry.regex.match(path):
                rule = entry.rules.get(method) or entry.rules.get(ANY_METHOD)
                if rule is not None:
                    return rule
                others |= entry.rules.keys()
        return others


def _beginning(path: str) -> str:
    """The first two parts of a path, when they are the same for all requests: they choose whom to compare with."""
    parts = path.split("/", 3)
    return "/".join(parts[:3]) if len(parts) >= 3 and "{" not in parts[1] + parts[2] else ""


def _entries(routes: Sequence[BaseRoute]) -> Iterator[Entry]:
    described = (context for context in iter_route_contexts(routes) if context.path is not None)
    for path, group in groupby(described, key=lambda context: context.path):
        assert path is not None
        contexts = list(group)
        rules: dict[str, Rule] = {}
        for context in contexts:
            rule = _rule(context, path)
            for method in context.methods or {ANY_METHOD}:
                rules.setdefault(method, rule)  # the router takes the first that fits
        yield Entry(path, MappingProxyType(rules), contexts[0].path_regex)


def _rule(context: RouteContext, path: str) -> Rule:
    if not isinstance(context.original_route, APIRoute):
        return PATHS.get(path, CLOSED)
    said = (context.openapi_extra or {}).get(EXTENSION)
    return CLOSED if said is None else PUBLIC if said == "public" else Rule(Access(said))
