"""One endpoint for every operation of the table: a body is read, handlers answer it, the result is written as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

import orjson
from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.json_codec import VectorFormat, json_of_result
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.server.handlers import registry
from super_advanced_agents.server.handlers.context import HandlerContext
from super_advanced_agents.server.http.body import printable_name, read_json
from super_advanced_agents.server.http.dependencies import context_of, services_of
from super_advanced_agents.server.http.disconnect import while_connected
from super_advanced_agents.server.http.route_options import served
from super_advanced_agents.server.http.schemas.bodies import Body
from super_advanced_agents.types import Record

_SIZED = ("vectors", "records")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """One request of an operation, read.

    Attributes:
        request: as it came.
        body: its body; None where it has none.
        parameters: those of its URL; None where it has none.
        context: for handlers.
    """

    request: Request
    body: Any
    parameters: Any
    context: HandlerContext

    def value(self, name: str, default: Any = None) -> Any:
        """Return what the body or the URL says for a member."""
        value = self.body if self.body is not None else self.parameters
        return default if value is None else vars(value).get(name, default)

    @property
    def uid(self) -> str:
        """The name of one record, in the path."""
        uid: str = self.request.path_params["uid"]
        return uid

    async def result(self, make: Callable[..., Any] | None = None) -> Any:
        """Return the operation's result.

        Args:
            make: makes the request; of the body or the parameters when None.
        """
        return await registry.answer(make or self._made, self.context, size=self._size())

    def of(self, operation: Operation) -> ParsedRequest:
        """Return the same for another operation."""
        return replace(self, context=replace(self.context, operation=operation))

    def _made(self, **bounds: Any) -> Any:
        value: Body | None = self.body if self.body is not None else self.parameters
        if "uid" in self.request.path_params:
            bounds["uid"] = self.uid
        if value is None:
            kind = self.context.operation.request
            assert kind is not None
            return kind(**bounds)
        return value.made(**bounds)

    def _size(self) -> int:
        return next((len(many) for name in _SIZED if isinstance(many := self.value(name), list)), 1)


Show: TypeAlias = Callable[[ParsedRequest], Awaitable[Any]]
"""Answers a request with what is to be written: a `Response` as it is, anything else as JSON."""


async def show(parsed: ParsedRequest) -> Any:
    """Answer as the table says: the result, under the operation's member."""
    told = json_of_result(await parsed.result(), vectors=parsed.value("vectors", "numbers"))
    reply = parsed.context.operation.reply
    return {reply: told} if reply else told


async def show_page(parsed: ParsedRequest) -> Any:
    """Answer with a page, and what the next one begins after."""
    page, limit = await parsed.result(), parsed.value("limit")
    vectors: VectorFormat = parsed.value("vectors", "numbers")
    return {parsed.context.operation.reply: json_of_result(page, vectors=vectors), "next": next_cursor(page, limit)}


def next_cursor(page: Sequence[Record], limit: int) -> str | None:
    """Return what the page after this one begins after; None after the last."""
    return page[-1].uid if len(page) >= limit else None


@contextmanager
def renamed_field(value: str, told: str) -> Iterator[None]:
    """Name what is wrong as the body does, where the library's argument is a list of one."""
    try:
        yield
    except InvalidInputError as exc:
        if not exc.field.startswith(value):
            raise
        field = (told + exc.field.removeprefix(value)).lstrip(".")
        raise type(exc)(exc.message.replace(exc.field, field, 1), field=field, hint=exc.hint) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How an operation is served over REST.

    Attributes:
        operation: from the table.
        shape: of the answer, for the document.
        body: what it takes: a `Body`, or a union of some.
        parameters: what its URL may say beyond its path.
        show: answers.
        doc: what it does; as its handler says when empty.
        responses: further answers, for the document.
    """

    operation: Operation
    shape: Any = None
    body: Any = None
    parameters: type[Body] | None = None
    show: Show = show
    doc: str = ""
    responses: dict[int | str, dict[str, Any]] | None = None

    async def respond(self, request: Request, body: Any = None, parameters: Any = None) -> Response:
        """Answer a request whose body was read."""
        if request.scope["query_string"]:
            self._check_parameters(request)
        services, request_context = services_of(request), context_of(request)
        context = HandlerContext(
            operation=self.operation,
            target=next(iter(request.path_params.values()), ""),
            workspace=services.workspaces.of(request_context.principal.tenant),
            request_context=request_context,
            admission=services.admission,
        )
        showing = self.show(ParsedRequest(request=request, body=body, parameters=parameters, context=context))
        told = await (showing if body is None else while_connected(request.receive, showing))  # type: ignore[arg-type]  # coroutines, all of them
        if isinstance(told, Response):
            return told
        if self.operation.status == HTTPStatus.NO_CONTENT:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        # What comes out of the library was checked on its way in; checking it again would cost more than the search.
        text = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(text, status_code=self.operation.status, media_type="application/json")

    def _check_parameters(self, request: Request) -> None:
        known = () if self.parameters is None else self.parameters.model_fields
        for name in request.query_params:
            if name not in known:
                field = printable_name(name)
                raise InvalidInputError(f"there is no parameter {field!r} here", field=field, hint="leave it out")

    def described(self) -> Callable[..., Awaitable[Response]]:
        """Return a function whose parameters tell the framework, and its document, what the operation takes."""
        kinds = inspect.Parameter.KEYWORD_ONLY
        wanted: dict[str, Any] = {"request": Request}
        wanted |= dict.fromkeys(self.operation.path_parameters, str)
        if self.body is not None:
            wanted["body"] = self.body
        if self.parameters is not None:
            wanted["parameters"] = Annotated[self.parameters, Query()]

        async def endpoint(request: Request, body: Any = None, parameters: Any = None, **path: str) -> Response:
            del path
            return await self.respond(request, body, parameters)

        endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by `inspect`
            [inspect.Parameter(name, kinds, annotation=hint) for name, hint in wanted.items()]
        )
        endpoint.__name__ = self.operation.name
        return endpoint


def add_endpoint(router: APIRouter, endpoint: Endpoint) -> None:
    """Register an operation with the framework."""
    operation = endpoint.operation
    handler = registry.HANDLERS.get(operation.name)
    doc = endpoint.doc or (inspect.getdoc(handler) or "" if handler is not None else "")
    router.add_api_route(
        **served(operation),
        endpoint=endpoint.described(),
        response_model=endpoint.shape,
        responses=endpoint.responses,
        description=doc,
    )


class HotRoutes(BaseRoute):
    """Serve operations that are called most without the framework, which tries every route in turn.

    It goes on describing them. The way through it costs 0.3 ms of a request: more than all else beside the search.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._routes = [(each.operation.verb, compile_path(each.operation.path)[0], _Hot(each)) for each in endpoints]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `BaseRoute`."""
        if scope["type"] == "http":
            for verb, regex, hot in self._routes:
                if verb == scope["method"] and (match := regex.match(scope["path"])):
                    return Match.FULL, {"endpoint": hot, "path_params": match.groupdict()}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `BaseRoute`."""
        response = await scope["endpoint"](Request(scope, receive))
        await response(scope, receive, send)


class _Hot:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._reader: TypeAdapter[Any] = TypeAdapter(endpoint.body)

    async def __call__(self, request: Request) -> Response:
        data = await read_json(request)
        try:
            body = self._reader.validate_python(data)
        except ValidationError as exc:
            wrong = exc.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in wrong]) from None
        return await self._endpoint.respond(request, body)


def not_found(what: str) -> HTTPException:
    """Return the error that there is nothing of the name in the path."""
    return HTTPException(HTTPStatus.NOT_FOUND, what)
