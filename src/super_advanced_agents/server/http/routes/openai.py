"""OpenAI's paths, for programs that have its client: `/v1/embeddings`, `/v1/chat/completions`, `/v1/models`.

A `model` is the language model's name, the embedding model's, or an agent's; an agent answers from its memories. Errors
have OpenAI's shape (`middleware/openai_errors.py`) and the statuses of every other path.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.generation.base import checked_messages
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_match
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.completions import (
    Completion,
    embedding_model_names,
    estimated_tokens,
    grounded,
    language_model_names,
)
from super_advanced_agents.server.http.dependencies import ContextDep, RuntimeDep, WorkspaceDep
from super_advanced_agents.server.http.disconnect import while_connected
from super_advanced_agents.server.http.middleware.openai_errors import openai_error
from super_advanced_agents.server.http.route_options import served
from super_advanced_agents.server.http.schemas.openai import (
    ChatIn,
    ChatOut,
    ChatUsage,
    Choice,
    EmbeddingsIn,
    EmbeddingsOut,
    ErrorOut,
    MessageOut,
    ModelOut,
    ModelsOut,
)
from super_advanced_agents.server.http.sse import MEDIA_TYPE, EventStream
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace
from super_advanced_agents.types import Matrix

_OWNER = "super-advanced-agents"
_CHAT_BYTES = 4 * 1024 * 1024
_CONTEXT_TOKENS = 2_048
"""Prompt and answer together, of a language model in this process: nobody pays for more."""
_INLINE_NUMBERS = 50_000
"""Writing more numbers as JSON takes some milliseconds, and is kept off the event loop."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    status.value: {"model": ErrorOut, "description": status.phrase}
    for status in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPE: {
                "schema": {"type": "string"},
                "example": 'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"Paris"}}]}\n\n'
                "data: [DONE]\n\n",
            }
        }
    }
}

router = APIRouter(tags=["openai"], responses=_ERRORS, route_class=JSONRoute)


@router.api_route(**served(ops.EMBEDDINGS), response_model=EmbeddingsOut)
async def embeddings(body: EmbeddingsIn, runtime: RuntimeDep, context: ContextDep, request: Request) -> Response:
    """The vectors of one text or of many, in order; `dimensions` may only name what they have."""
    texts = body.texts()
    if body.model not in embedding_model_names(runtime.settings):
        raise AgentNotFoundError(
            f"there is no embedding model {body.model[:64]!r}", hint="GET /v1/models lists what there is"
        )
    pipeline = runtime.pipeline
    await context.charge(len(texts))
    with _fields(single=isinstance(body.input, str)):
        vectors = await while_connected(request.receive, pipeline.aembed_batch(texts))
    dim = vectors.shape[1]
    if body.dimensions not in {None, dim}:
        raise InvalidInputError(
            f"dimensions must be {dim}, as {body.model!r} makes them", field="dimensions", hint="leave it out"
        )
    tokens = await pipeline.acount_tokens(texts)
    if tokens is None:
        tokens = sum(map(estimated_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = {"object": "list", "model": body.model, "usage": usage}
    if body.encoding_format == "base64" or vectors.size <= _INLINE_NUMBERS:
        return _embedded(vectors, rest, as_text=body.encoding_format == "base64")
    return await in_thread(lambda: _embedded(vectors, rest, as_text=False), name="embeddings as JSON")


@router.api_route(**served(ops.CHAT), response_model=ChatOut, responses=_STREAMED)
async def chat(
    body: ChatIn, workspace: WorkspaceDep, runtime: RuntimeDep, context: ContextDep, request: Request
) -> Response:
    """One answer, whole or with `stream` as events that end with `[DONE]`; hanging up ends the work.

    With an agent's name as `model` the last message is answered from its memories, which come back as `sources`.
    """
    options = body.options()
    messages = checked_messages([message.message() for message in body.messages], _CHAT_BYTES)
    if runtime.settings.generation_base_url is None:
        options = replace(options, max_length=min(options.max_length, _CONTEXT_TOKENS))
    if body.model in language_model_names(runtime.settings):
        await context.charge(options.max_length)
        answer = Completion(llm=runtime.generator, messages=messages, options=options, model=body.model)
    else:
        agent = await _agent(workspace, runtime, body.model)
        settings = workspace.agent_settings(agent.name)
        if body.max_new_tokens is None:
            options = replace(options, max_length=settings.answer_tokens)
        await context.charge(options.max_length)
        grounding = grounded(agent, runtime.generator, messages, options, context_chars=settings.context_chars)
        answer = await while_connected(request.receive, grounding)
    if body.stream:
        wants_usage = body.stream_options is not None and body.stream_options.include_usage
        # The first piece of text is waited for: what fails before it answers with a status, not inside a 200.
        return await _Chunks.start(_chunks(answer, wants_usage=wants_usage), request.receive, ahead=2)
    text = await while_connected(request.receive, _whole(answer))
    told = ChatOut(
        id=answer.id,
        created=answer.created,
        model=body.model,
        choices=[Choice(message=MessageOut(content=text), finish_reason=answer.finish_reason)],
        usage=_usage(answer),
    ).model_dump(exclude={"sources"})
    sources = _sources(answer)
    if sources is not None:
        told["sources"] = sources
    return Response(orjson.dumps(told), media_type="application/json")


@router.api_route(**served(ops.MODELS))
async def models(workspace: WorkspaceDep, runtime: RuntimeDep) -> ModelsOut:
    """The language model, the embedding model and the agents: every name that a request may give as `model`."""
    names = [language_model_names(runtime.settings)[0], embedding_model_names(runtime.settings)[0]]
    return ModelsOut(
        data=[ModelOut(id=name, owned_by=_OWNER) for name in dict.fromkeys([*names, *await _known(workspace, runtime)])]
    )


@router.api_route(**served(ops.MODEL))
async def model(model: str, workspace: WorkspaceDep, runtime: RuntimeDep) -> ModelOut:
    """Whether there is a model or an agent of that name; 404 when there is none."""
    if model not in (*language_model_names(runtime.settings), *embedding_model_names(runtime.settings)):
        await _agent(workspace, runtime, model)
    return ModelOut(id=model, owned_by=_OWNER)


async def _agent(workspace: Workspace, runtime: Runtime, name: str) -> AsyncLLMAgent:
    """An agent that was given settings or has memories; of the names that nobody has used, none is a model."""
    try:
        agent = workspace.agent(name)
    except InvalidInputError:
        agent = None
    if agent is not None and (name in await _known(workspace, runtime) or await agent.ascan(limit=1)):
        return agent
    raise AgentNotFoundError(
        f"there is no language model and no agent {name[:64]!r}", hint="GET /v1/models lists what there is"
    )


async def _known(workspace: Workspace, runtime: Runtime) -> list[str]:
    return [runtime.settings.agent, *[agent.name for agent in await workspace.aagents()]]


class _Chunks(EventStream):
    """What fails after the first chunk is told as OpenAI's clients expect it."""

    def failure(self, error: SuperAdvancedAgentsError) -> bytes:
        return _event(openai_error(problem_of(error)))


async def _chunks(answer: Completion, *, wants_usage: bool) -> AsyncGenerator[bytes, None]:
    chunk: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
    }
    if wants_usage:
        chunk["usage"] = None
    sources = _sources(answer)
    told = {} if sources is None else {"sources": sources}
    yield _event(chunk | told | _delta({"role": "assistant", "content": ""}))
    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            yield _event(chunk | _delta({"content": piece}))
    yield _event(chunk | _delta({}, answer.finish_reason))
    if wants_usage:
        yield _event(chunk | {"choices": [], "usage": _usage(answer).model_dump()})
    yield b"data: [DONE]\n\n"


def _delta(delta: Mapping[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(data)


async def _whole(answer: Completion) -> str:
    async with aclosing(answer.pieces()) as pieces:
        return "".join([piece async for piece in pieces])


def _usage(answer: Completion) -> ChatUsage:
    read, written = answer.tokens()
    return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _sources(answer: Completion) -> list[dict[str, Any]] | None:
    return None if answer.sources is None else [json_of_match(match) for match in answer.sources]


def _embedded(vectors: Matrix, rest: Mapping[str, Any], *, as_text: bool) -> Response:
    rows: list[Any] = list(vectors.astype("<f4"))
    if as_text:
        rows = [base64.b64encode(row.tobytes()).decode() for row in rows]
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return Response(
        orjson.dumps({**rest, "data": data}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
    )


@contextmanager
def _fields(*, single: bool) -> Iterator[None]:
    """The pipeline's `texts[3]` is the caller's `input[3]`, or its `input` when that is one text."""
    try:
        yield
    except InvalidInputError as exc:
        if not exc.field.startswith("text"):
            raise
        _, bracket, index = exc.field.partition("[")
        field = "input" if single else f"input{bracket}{index}"
        raise InvalidInputError(exc.message.replace(exc.field, field, 1), field=field, hint=exc.hint) from exc
