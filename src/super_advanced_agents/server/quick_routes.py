"""The routes that are called most, without the framework's way to them.

The framework tries every route in turn and looks up every dependency anew: 0.3 ms of a request, more than all else that
a search costs beside the search. Here the same endpoints, with the same dependencies, are found in a table and called.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.params import Path as PathParameter
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from super_advanced_agents.server.json_requests import read_json


@dataclass(slots=True)
class _Answering:
    """One request, and what its dependencies gave so far."""

    request: Request
    path: Mapping[str, str]
    body: BaseModel | None
    made: dict[Callable[..., Any], Any]


_Maker: TypeAlias = Callable[[_Answering], Awaitable[Any]]


def add_quick_routes(app: FastAPI, operations: Collection[str]) -> None:
    """Answer these operations without the framework; it goes on describing them, and what is asked of a credential.

    Args:
        app: with all its routes.
        operations: their ids. Each takes JSON and returns a `Response`.
    """
    contexts = [each for each in iter_route_contexts(app.routes) if isinstance(each.original_route, APIRoute)]
    chosen = [each for each in contexts if each.operation_id in operations or each.unique_id in operations]
    if len(chosen) != len(operations):
        raise LookupError(f"{sorted(operations)} are not all operations of this application")
    app.router.routes.insert(0, _QuickRoutes([_Quick(each) for each in chosen]))


class _QuickRoutes(BaseRoute):
    """All of them, tried before any other."""

    def __init__(self, routes: list[_Quick]) -> None:
        self._static = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._others = [route for route in routes if "{" in route.path]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `BaseRoute`."""
        if scope["type"] != "http":
            return Match.NONE, {}
        found = self._static.get((scope["method"], scope["path"]))
        if found is not None:
            return Match.FULL, {"quick": found, "path_params": {}}
        for route in self._others:
            if route.method == scope["method"] and (match := route.regex.match(scope["path"])):
                return Match.FULL, {"quick": route, "path_params": match.groupdict()}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `BaseRoute`."""
        response = await scope["quick"].answer(Request(scope, receive))
        await response(scope, receive, send)


class _Quick:
    """One route: its endpoint, and how each of its arguments is made."""

    def __init__(self, context: RouteContext) -> None:
        route = context.original_route
        assert isinstance(route, APIRoute)
        self.method = next(iter(context.methods or ()))
        self.path = context.path or ""
        self.regex: re.Pattern[str] = context.path_regex
        self._endpoint = route.endpoint
        self._model: type[BaseModel] | None = None
        self._arguments = self._makers(route.endpoint)
        assert self._model is not None

    async def answer(self, request: Request) -> Response:
        """Call the endpoint; raises what the framework would raise."""
        data = await read_json(request)
        assert self._model is not None
        try:
            body = self._model.__pydantic_validator__.validate_python(data)
        except ValidationError as exc:
            wrong = exc.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in wrong]) from None
        answering = _Answering(request, request.scope["path_params"], body, {})
        arguments = {name: await make(answering) for name, make in self._arguments.items()}
        response = await self._endpoint(**arguments)
        assert isinstance(response, Response)
        return response

    def _makers(self, function: Callable[..., Any]) -> dict[str, _Maker]:
        called = function.__init__ if inspect.isclass(function) else function
        hints = get_type_hints(called, include_extras=True)
        names = list(inspect.signature(function).parameters)
        return {name: self._maker(name, hints[name]) for name in names}

    def _maker(self, name: str, hint: Any) -> _Maker:
        base, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        for extra in extras:
            if isinstance(extra, Depends):
                assert extra.dependency is not None
                return _dependency(extra.dependency, self._makers(extra.dependency))
            if isinstance(extra, PathParameter):
                return _path(name)
        if base is Request:
            return _request
        if base is str and f"{{{name}}}" in self.path:
            return _path(name)
        if inspect.isclass(base) and issubclass(base, BaseModel):
            self._model = base
            return _body
        raise TypeError(f"{self.path} asks for {name!r}, which only the framework can make")


async def _request(answering: _Answering) -> Request:
    return answering.request


async def _body(answering: _Answering) -> BaseModel | None:
    return answering.body


def _path(name: str) -> _Maker:
    async def make(answering: _Answering) -> str:
        return answering.path[name]

    return make


def _dependency(function: Callable[..., Any], makers: Mapping[str, _Maker]) -> _Maker:
    asynchronous = inspect.iscoroutinefunction(function)

    async def make(answering: _Answering) -> Any:
        if function not in answering.made:
            given = function(**{name: await maker(answering) for name, maker in makers.items()})
            answering.made[function] = await given if asynchronous else given
        return answering.made[function]

    return make
