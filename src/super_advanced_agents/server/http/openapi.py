"""The parts of the OpenAPI document (3.1) that all routes share: security, errors, examples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.protocol.problems import MEDIA_TYPE, problem_details
from super_advanced_agents.server.http.route_options import EXTENSION
from super_advanced_agents.server.http.schemas.examples import ANSWERS, EXAMPLES
from super_advanced_agents.server.http.streaming.json_answers import encoded_answer
from super_advanced_agents.tenancy.context import Access

_METHODS = ("get", "put", "post", "patch", "delete")
_UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's own errors, which this server never sends."""

_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`saa keys create`), or a token of the issuer that the server trusts.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "A problem document (RFC 9457). It never repeats the text of a request.",
    "properties": {
        "type": {"type": "string", "description": "the kind of problem, a URN, or `about:blank`"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence about this occurrence"},
        "error": {"type": "string", "description": "the library's class of error"},
        "retryable": {"type": "boolean", "description": "true if the same request may succeed later"},
        "field": {"type": "string", "description": "the member, parameter or header that is wrong"},
        "hint": {"type": "string", "description": "what to do next"},
        "retry_after_s": {"type": "number", "description": "seconds to wait before a retry"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["field", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}

_MEANINGS = {
    HTTPStatus.BAD_REQUEST: "the request is malformed",
    HTTPStatus.UNAUTHORIZED: "the credential is missing or not valid",
    HTTPStatus.FORBIDDEN: "the credential lacks the scope, or the page's origin is not allowed",
    HTTPStatus.NOT_FOUND: "no resource has that name",
    HTTPStatus.REQUEST_TIMEOUT: "the request took too long to arrive",
    HTTPStatus.CONFLICT: "the request conflicts with the current state",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is longer than the server accepts",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the body is compressed, or is not JSON",
    HTTPStatus.MISDIRECTED_REQUEST: "the Host header is not a name of this server",
    HTTPStatus.UNPROCESSABLE_ENTITY: "a member or a parameter is not valid; `field` names it, and nothing was stored",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests; `Retry-After` says when to try again",
    HTTPStatus.INTERNAL_SERVER_ERROR: "the server failed; its log says why",
    HTTPStatus.BAD_GATEWAY: "a model failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "not ready, overloaded or stopping; `Retry-After` says when to try again",
    HTTPStatus.GATEWAY_TIMEOUT: "the deadline of the server or of the client has passed",
    HTTPStatus.INSUFFICIENT_STORAGE: "the disk is full; nothing was stored",
}
_WITH_RETRY_AFTER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A write with the same key and the same body is executed once and answered the same for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def extend_openapi(app: FastAPI) -> None:
    """Complete an OpenAPI document, and serve it without making it on the event loop."""
    generate: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _extend_document(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI's manual gives

    making, made = asyncio.Lock(), list[bytes]()

    async def serve(request: Request) -> Response:
        del request
        async with making:  # it takes 0.4 s of a processor, and strangers may ask for it
            if not made:
                made.append(await in_thread(lambda: orjson.dumps(openapi()), name="OpenAPI document"))
        # All answers share its bytes, so none has to be counted until it is read.
        return encoded_answer(made[0], HTTPStatus.OK, lambda size_bytes: nullcontext())

    assert app.openapi_url is not None
    app.router.routes.insert(0, Route(app.openapi_url, serve, include_in_schema=False))


def _extend_document(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    components["securitySchemes"] = _SECURITY
    components["responses"] = {_component_name(status): _response(status) for status in _MEANINGS}
    schemas["Problem"] = _PROBLEM
    for path, operation, method in _operations(document):
        _add_security(operation)
        _add_errors(path, method, operation)
        _add_examples(operation, schemas)
        if method != "get" and _is_write(operation):
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for name in _UNUSED_SCHEMAS:
        schemas.pop(name, None)
    components["schemas"] = dict(sorted(schemas.items()))


def _is_write(operation: Mapping[str, Any]) -> bool:
    scopes = str(operation.get(EXTENSION)).split()
    return Access.WRITE in scopes or Access.ADMIN in scopes


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, item[method], method


def _add_security(operation: dict[str, Any]) -> None:
    if operation.get(EXTENSION) != "public":
        operation["security"] = [{name: []} for name in _SECURITY]


def _add_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    # A route that declares its own model for 401, as OpenAI's do, uses it for every error.
    own_model = responses.get(str(HTTPStatus.UNAUTHORIZED.value))
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status in _error_statuses(path, method, operation):
        code = str(status.value)
        if code not in responses:
            responses[code] = (
                {"$ref": f"#/components/responses/{_component_name(status)}"}
                if own_model is None
                else {**own_model, "description": _MEANINGS[status]}
            )
    operation["responses"] = dict(sorted(responses.items()))


def _error_statuses(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[HTTPStatus]:
    yield from (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.MISDIRECTED_REQUEST)
    yield from (HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
    if operation.get(EXTENSION) == "public":
        return
    yield from (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GATEWAY_TIMEOUT)
    yield from (HTTPStatus.BAD_GATEWAY, HTTPStatus.CONFLICT)
    yield from (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if "requestBody" in operation or operation.get("parameters"):
        yield HTTPStatus.UNPROCESSABLE_ENTITY
    if "{" in path:
        yield HTTPStatus.NOT_FOUND
    if method != "get":
        yield HTTPStatus.INSUFFICIENT_STORAGE


def _component_name(status: HTTPStatus) -> str:
    return "".join(word.capitalize() for word in status.name.split("_"))


def _response(status: HTTPStatus) -> dict[str, Any]:
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": problem_details(status, _MEANINGS[status]),
    }
    response: dict[str, Any] = {"description": _MEANINGS[status], "content": {MEDIA_TYPE: content}}
    if status in _WITH_RETRY_AFTER:
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    if status is HTTPStatus.UNAUTHORIZED:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return response


def _add_examples(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    bodies = [operation.get("requestBody", {})]
    bodies += [response for code, response in operation["responses"].items() if code.startswith("2")]
    for body in bodies:
        content = body.get("content", {}).get("application/json")
        if content is not None and "example" not in content:
            example = _first_example(content.get("schema", {}), schemas) or ANSWERS.get(operation["operationId"])
            if example is not None:
                content["example"] = example


def _first_example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> object:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if schema.get("examples"):
        return schema["examples"][0]
    for alternative in [*schema.get("oneOf", []), *schema.get("anyOf", [])]:
        example = _first_example(alternative, schemas)
        if example is not None:
            return example
    return None
