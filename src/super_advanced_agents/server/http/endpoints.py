"""REST endpoints, which execute parsed requests and encode the results as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

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
from super_advanced_agents.protocol.json_parser import printable_name
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.server.handlers import registry
from super_advanced_agents.server.handlers.context import HandlerContext
from super_advanced_agents.server.http.body import read_json
from super_advanced_agents.server.http.dependencies import context_of, in_slices, services_of
from super_advanced_agents.server.http.paths import named
from super_advanced_agents.server.http.route_options import route_options
from super_advanced_agents.server.http.schemas.bodies import Body
from super_advanced_agents.server.http.streaming.disconnect import while_connected
from super_advanced_agents.server.http.streaming.json_answers import Items, PiecewiseResponse, json_answer
from super_advanced_agents.server.limits.cost import answer_units
from super_advanced_agents.stores.records.answer_sizes import NUMBER_BYTES, Page
from super_advanced_agents.stores.requests import GetRequest, ScanRequest
from super_advanced_agents.types import Record

_SIZED_MEMBERS = ("vectors", "records", "memories", "turns")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """Hold a REST request with its parsed body, its query parameters and its handler's context.

    Attributes:
        request: the HTTP request.
        body: the parsed body; None where the request has none.
        parameters: the parsed parameters of the URL; None where the operation takes none.
        context: the context for the operation's handler.
    """

    request: Request
    body: Any
    parameters: Any
    context: HandlerContext

    def value(self, name: str, default: Any = None) -> Any:
        """Return the named field of the body, or the named query parameter if there is no body."""
        model = self.body if self.body is not None else self.parameters
        return default if model is None else vars(model).get(name, default)

    @property
    def uid(self) -> str:
        """The unique id (`uid`) of a record or memory in the URL's path."""
        return named(self.request.path_params["uid"])

    async def result(self, build: Callable[..., Any] | None = None) -> Any:
        """Execute the requested operation and return its result.

        Args:
            build: builds the operation's request; None builds it from the body, or from the parameters.
        """
        return await registry.execute(build or self._build_request, self.context, size=self._size())

    def for_operation(self, operation: Operation) -> ParsedRequest:
        """Return a copy of this request that executes another operation."""
        return replace(self, context=replace(self.context, operation=operation))

    def _build_request(self, **bounds: Any) -> Any:
        model: Body | None = self.body if self.body is not None else self.parameters
        if "uid" in self.request.path_params:
            bounds["uid"] = self.uid
        if model is None:
            request_type = self.context.operation.request
            assert request_type is not None
            return request_type(**bounds)
        request = model.build(**bounds)
        vectors = vars(model).get("vectors") if isinstance(request, GetRequest | ScanRequest) else None
        return request if vectors is None else request.replaced(number_bytes=NUMBER_BYTES[vectors])

    def _size(self) -> int:
        return next((len(rows) for name in _SIZED_MEMBERS if isinstance(rows := self.value(name), list)), 1)


RouteHandler: TypeAlias = Callable[[ParsedRequest], Awaitable[Any]]
"""Executes a request and returns what is sent: a `Response` as it is, other values as JSON."""


async def handle(parsed: ParsedRequest) -> Any:
    """Execute a request and return its result as JSON, under the operation's key if it has one."""
    result, convert = await parsed.result(), partial(json_of_result, vectors=parsed.value("vectors", "numbers"))
    content = Items(result, convert) if isinstance(result, list) else convert(result)
    reply = parsed.context.operation.reply
    return {reply: content} if reply else content


async def handle_page(parsed: ParsedRequest) -> Any:
    """Execute a request for one page; return its records as JSON, with the next page's cursor."""
    page, limit = await parsed.result(), parsed.value("limit")
    vectors: VectorFormat = parsed.value("vectors", "numbers")
    items = Items(page, partial(json_of_result, vectors=vectors))
    return {parsed.context.operation.reply: items, "next": next_cursor(page, limit)}


def next_cursor(page: Sequence[Record], limit: int) -> str | None:
    """Return the next page's cursor: this page's last uid, or None if the page is the last one."""
    cut = isinstance(page, Page) and page.cut
    return page[-1].uid if cut or len(page) >= limit else None


@contextmanager
def renamed_field(argument: str, member: str) -> Iterator[None]:
    """Enter a context that renames the `field` of input errors from `argument` to `member`.

    Used where the body holds one value and the library takes a list of one.
    """
    try:
        yield
    except InvalidInputError as exc:
        if not exc.field.startswith(argument):
            raise
        raise exc.for_field((member + exc.field.removeprefix(argument)).lstrip(".")) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Hold one REST route's pydantic models and handler, and answer its requests.

    Attributes:
        operation: its row of the operation table.
        response_model: the model of the response, for the OpenAPI document.
        body: the model of the body: a `Body`, or a union of some.
        parameters: the model of the URL's query parameters.
        handler: executes a request.
        description: for the OpenAPI document; the docstring of the operation's handler where empty.
        responses: further responses, for the OpenAPI document.
        media_type: that of a body which is no JSON, and which the handler reads; empty for others.
    """

    operation: Operation
    response_model: Any = None
    body: Any = None
    parameters: type[Body] | None = None
    handler: RouteHandler = handle
    description: str = ""
    responses: dict[int | str, dict[str, Any]] | None = None
    media_type: str = ""

    async def respond(self, request: Request, body: Any = None, parameters: Any = None) -> Response:
        """Execute a request, given its parsed body and parameters, and return the response."""
        if request.scope["query_string"]:
            self._check_parameters(request)
        services, request_context = services_of(request), context_of(request)
        context = HandlerContext(
            operation=self.operation,
            target=named(next(iter(request.path_params.values()), "")),
            workspace=services.workspaces.of(request_context.principal.tenant),
            request_context=request_context,
            conversions=services.conversions,
            request_bytes=0 if body is None and not self.media_type else len(await request.body()),
            jobs=services.jobs,
        )
        work = self.handler(ParsedRequest(request=request, body=body, parameters=parameters, context=context))
        content = await (work if body is None else while_connected(request.receive, work))  # type: ignore[arg-type]  # coroutines, all of them
        if isinstance(content, Response):
            return content
        if self.operation.status == HTTPStatus.NO_CONTENT:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        # Results were validated when they were stored; validating them again would cost more than the search.
        hold = partial(services.sending.hold, request_context.principal.tenant)
        response = await json_answer(content, self.operation.status, hold, partial(in_slices, request))
        long_bytes = response.size_bytes if isinstance(response, PiecewiseResponse) else 0
        request_context.end_work(long_bytes)
        if long_bytes:
            await request_context.settle(answer_units(long_bytes))
        return response

    def _check_parameters(self, request: Request) -> None:
        known = () if self.parameters is None else self.parameters.model_fields
        for name in request.query_params:
            if name not in known:
                field = printable_name(name)
                raise InvalidInputError(f"unknown query parameter {field!r}", field=field, hint="leave it out")

    def route_function(self) -> Callable[..., Awaitable[Response]]:
        """Return a path operation function for FastAPI, whose signature declares all parameters."""
        annotations: dict[str, Any] = {"request": Request}
        annotations |= dict.fromkeys(self.operation.path_parameters, str)
        if self.body is not None:
            annotations["body"] = self.body
        if self.parameters is not None:
            annotations["parameters"] = Annotated[self.parameters, Query()]

        async def endpoint(request: Request, body: Any = None, parameters: Any = None, **path: str) -> Response:
            del path
            return await self.respond(request, body, parameters)

        kind = inspect.Parameter.KEYWORD_ONLY
        endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by `inspect`
            [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in annotations.items()]
        )
        endpoint.__name__ = self.operation.name
        return endpoint


def add_endpoint(router: APIRouter, endpoint: Endpoint) -> None:
    """Add an endpoint to a FastAPI router."""
    operation = endpoint.operation
    operation_handler = registry.HANDLERS.get(operation.name)
    options = route_options(operation)
    if endpoint.media_type:
        content = {endpoint.media_type: {"schema": {"type": "string", "format": "binary"}}}
        options["openapi_extra"] |= {"requestBody": {"required": True, "content": content}}
    docstring = (inspect.getdoc(operation_handler) or "") if operation_handler is not None else ""
    router.add_api_route(
        **options,
        endpoint=endpoint.route_function(),
        response_model=endpoint.response_model,
        responses=endpoint.responses,
        description=endpoint.description or docstring,
    )


class HotRoutes(BaseRoute):
    """A Starlette route that serves the most frequent operations without FastAPI, for speed.

    FastAPI only documents these operations: it tries its routes one after another, which costs 0.3 ms a request, more
    than everything else beside the search.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._routes = [
            (endpoint.operation.verb, compile_path(endpoint.operation.path)[0], _HotEndpoint(endpoint))
            for endpoint in endpoints
        ]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request to one of these routes by method and path; return Starlette's match."""
        if scope["type"] == "http":
            for verb, regex, endpoint in self._routes:
                if verb == scope["method"] and (match := regex.match(scope["path"])):
                    return Match.FULL, {"endpoint": endpoint, "path_params": match.groupdict()}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the endpoint that `matches` put into its ASGI scope."""
        response = await scope["endpoint"](Request(scope, receive))
        await response(scope, receive, send)


class _HotEndpoint:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._adapter: TypeAdapter[Any] = TypeAdapter(endpoint.body)

    async def __call__(self, request: Request) -> Response:
        return await self._endpoint.respond(request, await read_json(request, self._validate))

    def _validate(self, data: Any) -> Any:
        try:
            return self._adapter.validate_python(data)
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in errors]) from None


def not_found(message: str) -> HTTPException:
    """Return an `HTTPException` with status 404 and the given message."""
    return HTTPException(HTTPStatus.NOT_FOUND, message)
