"""Routes of OpenAI's API: `/v1/embeddings`, `/v1/chat/completions` and `/v1/models`.

A `model` is the name of the language model, the embedding model or an agent; an agent answers from its memories. Errors
have OpenAI's format (`middleware/openai_errors.py`) and the same statuses as on other paths.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from super_advanced_agents._runtime.concurrency.slices import finished
from super_advanced_agents._runtime.metering import estimated_tokens
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.generation.base import checked_messages
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_match
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.server.handlers.agents import TURNS_OF_A_CHAT
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.completions import (
    Completion,
    embedding_model_names,
    grounded_completion,
    language_model_names,
)
from super_advanced_agents.server.http.dependencies import ContextDep, RuntimeDep, WorkspaceDep, in_slices, services_of
from super_advanced_agents.server.http.middleware.openai_errors import openai_error
from super_advanced_agents.server.http.paths import named
from super_advanced_agents.server.http.route_options import route_options
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
from super_advanced_agents.server.http.schemas.streams import CHAT_STREAM
from super_advanced_agents.server.http.streaming.disconnect import while_connected
from super_advanced_agents.server.http.streaming.json_answers import encoded_answer
from super_advanced_agents.server.http.streaming.sse import MEDIA_TYPE, EventStream
from super_advanced_agents.server.limits.cost import answer_units, request_units
from super_advanced_agents.stores.records.answer_sizes import embeddings_bytes
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace
from super_advanced_agents.types import Matrix

_OWNER = "super-advanced-agents"
_MAX_CHAT_BYTES = 4 * 1024 * 1024
_CONTEXT_TOKENS = 2_048
"""The limit on prompt and answer for a language model in this process, whose use is free."""
_SLICE_NUMBERS = 16_384
"""The numbers that are written as JSON in a slice; more take more than a millisecond."""

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

_STREAMED: dict[int | str, dict[str, Any]] = {HTTPStatus.OK.value: {"content": {MEDIA_TYPE: CHAT_STREAM}}}

router = APIRouter(tags=["openai"], responses=_ERRORS, route_class=JSONRoute)


@router.api_route(**route_options(ops.EMBEDDINGS), response_model=EmbeddingsOut)
async def embeddings(body: EmbeddingsIn, runtime: RuntimeDep, context: ContextDep, request: Request) -> Response:
    """Return the embedding of one text, or of several texts in order.

    In place of a text, a list of tokens of the model's own tokenizer is accepted, where the server has the tokenizer.
    `dimensions`, if sent, must be the dimension of the model.
    """
    inputs = body.inputs()
    if body.model not in embedding_model_names(runtime.settings):
        raise AgentNotFoundError(
            f"there is no embedding model {body.model[:64]!r}", hint="GET /v1/models lists the models"
        )
    pipeline = runtime.pipeline
    size = embeddings_bytes(LIMITS, len(inputs), pipeline.dim, as_base64=body.encoding_format == "base64")
    await context.charge(len(inputs) + request_units(len(await request.body())) + answer_units(size))
    with _renamed_text_fields(single=body.is_single):
        texts = await pipeline.adecode(inputs) if body.holds_tokens else inputs
        vectors = await while_connected(request.receive, pipeline.aembed_batch(texts))
    dim = vectors.shape[1]
    if body.dimensions not in {None, dim}:
        raise InvalidInputError(
            f"dimensions must be {dim}, the dimension of {body.model!r}", field="dimensions", hint="leave it out"
        )
    tokens = await pipeline.acount_tokens(texts)
    if tokens is None:
        tokens = sum(map(estimated_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    envelope = {"object": "list", "model": body.model, "usage": usage}
    encoding = _embeddings_in_slices(vectors, envelope, as_base64=body.encoding_format == "base64")
    text = finished(encoding) if vectors.size <= _SLICE_NUMBERS else await in_slices(request, encoding)
    hold = partial(services_of(request).sending.hold, context.principal.tenant)
    return encoded_answer(text, HTTPStatus.OK, hold)


@router.api_route(**route_options(ops.CHAT), response_model=ChatOut, responses=_STREAMED)
async def chat(
    body: ChatIn, workspace: WorkspaceDep, runtime: RuntimeDep, context: ContextDep, request: Request
) -> Response:
    """Generate the next message of a chat, as JSON or, with `stream`, as server-sent events.

    The stream ends with `[DONE]`. With an agent's name as `model`, the last message is answered from the agent's
    memories, which are returned as `sources`. With `store`, that message and the answer are remembered as turns of the
    session that `metadata.session` names, durably before the response ends; this needs the scope `memories:write`.
    The work is cancelled when the client disconnects.
    """
    options = body.options()
    messages = checked_messages([message.message() for message in body.messages], _MAX_CHAT_BYTES)
    if runtime.settings.generation_base_url is None:
        options = replace(options, max_length=min(options.max_length, _CONTEXT_TOKENS))
    if body.model in language_model_names(runtime.settings):
        await context.charge(options.max_length)
        completion = Completion(llm=runtime.generator, messages=messages, options=options, model=body.model)
    else:
        context.principal.require(Access.READ)  # the answer may quote the agent's memories
        agent = await _agent(workspace, runtime, body.model)
        session = body.session()
        if session is not None:
            context.principal.require(Access.WRITE)
            await context.charge(TURNS_OF_A_CHAT)
        settings = workspace.agent_settings(agent.name)
        if body.max_new_tokens is None:
            options = replace(options, max_length=settings.answer_tokens)
        await context.charge(options.max_length)
        completion = await while_connected(
            request.receive,
            grounded_completion(
                agent, runtime.generator, messages, options, context_chars=settings.context_chars, session=session
            ),
        )
    if body.stream:
        wants_usage = body.stream_options is not None and body.stream_options.include_usage
        # Two chunks ahead: an error before the first piece of text then sets the status instead of ending a 200.
        return await _ChunkStream.start(_chunks(completion, wants_usage=wants_usage), request.receive, ahead=2)
    text = await while_connected(request.receive, _collect_text(completion))
    content = ChatOut(
        id=completion.id,
        created=completion.created,
        model=body.model,
        choices=[Choice(message=MessageOut(content=text), finish_reason=completion.finish_reason)],
        usage=_usage(completion),
    ).model_dump(exclude={"sources"})
    sources = _sources(completion)
    if sources is not None:
        content["sources"] = sources
    return Response(orjson.dumps(content), media_type="application/json")


@router.api_route(**route_options(ops.MODELS))
async def models(workspace: WorkspaceDep, runtime: RuntimeDep) -> ModelsOut:
    """List the accepted values of `model`: the language model, embedding model and agents.

    The agents are those with memories or with settings of their own, and the default agent.
    """
    names = [language_model_names(runtime.settings)[0], embedding_model_names(runtime.settings)[0]]
    names += [runtime.settings.agent, *(agent.name for agent in await workspace.aagents())]
    return ModelsOut(data=[ModelOut(id=name, owned_by=_OWNER) for name in dict.fromkeys(names)])


@router.api_route(**route_options(ops.MODEL))
async def model(model: str, workspace: WorkspaceDep, runtime: RuntimeDep) -> ModelOut:
    """Return a model or an agent by name; the status is 404 if it does not exist."""
    model = named(model)
    if model not in (*language_model_names(runtime.settings), *embedding_model_names(runtime.settings)):
        await _agent(workspace, runtime, model)
    return ModelOut(id=model, owned_by=_OWNER)


async def _agent(workspace: Workspace, runtime: Runtime, name: str) -> AsyncLLMAgent:
    # Every name exists as an agent; only those with settings or memories count as models.
    try:
        agent = workspace.agent(name)
    except InvalidInputError:
        agent = None
    if agent is not None and (
        name == runtime.settings.agent
        or await agent.ascan(limit=1)
        or any(info.name == name for info in await workspace.aagents())
    ):
        return agent
    raise AgentNotFoundError(
        f"there is no language model and no agent {name[:64]!r}", hint="GET /v1/models lists the models"
    )


class _ChunkStream(EventStream):
    def failure(self, error: SuperAdvancedAgentsError) -> bytes:
        return _event(openai_error(problem_of(error)))


async def _chunks(completion: Completion, *, wants_usage: bool) -> AsyncGenerator[bytes, None]:
    chunk: dict[str, Any] = {
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
    }
    if wants_usage:
        chunk["usage"] = None
    sources = _sources(completion)
    extra = {} if sources is None else {"sources": sources}
    yield _event(chunk | extra | _delta({"role": "assistant", "content": ""}))
    async with aclosing(completion.pieces()) as pieces:
        async for piece in pieces:
            yield _event(chunk | _delta({"content": piece}))
    yield _event(chunk | _delta({}, completion.finish_reason))
    if wants_usage:
        yield _event(chunk | {"choices": [], "usage": _usage(completion).model_dump()})
    yield b"data: [DONE]\n\n"


def _delta(delta: Mapping[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(data)


async def _collect_text(completion: Completion) -> str:
    async with aclosing(completion.pieces()) as pieces:
        return "".join([piece async for piece in pieces])


def _usage(completion: Completion) -> ChatUsage:
    prompt_tokens, new_tokens = completion.tokens()
    return ChatUsage(prompt_tokens=prompt_tokens, completion_tokens=new_tokens, total_tokens=prompt_tokens + new_tokens)


def _sources(completion: Completion) -> list[dict[str, Any]] | None:
    return None if completion.sources is None else [json_of_match(match) for match in completion.sources]


def _embeddings_in_slices(
    vectors: Matrix, envelope: Mapping[str, Any], *, as_base64: bool
) -> Generator[None, None, bytes]:
    parts = [orjson.dumps(envelope).removesuffix(b"}"), b',"data":[']
    step = max(1, _SLICE_NUMBERS // vectors.shape[1])
    for start in range(0, len(vectors), step):
        rows: list[Any] = list(vectors[start : start + step].astype("<f4"))
        if as_base64:
            rows = [base64.b64encode(row.tobytes()).decode() for row in rows]
        data = [{"object": "embedding", "index": start + i, "embedding": row} for i, row in enumerate(rows)]
        parts += [b"," if start else b"", orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]]
        yield
    return b"".join([*parts, b"]}"])


@contextmanager
def _renamed_text_fields(*, single: bool) -> Iterator[None]:
    # The library names its argument `text`, `texts[i]` or `tokens[i]`; clients sent `input`, one of them or a list.
    try:
        yield
    except InvalidInputError as exc:
        if not exc.field.startswith(("text", "tokens")):
            raise
        _, bracket, index = exc.field.partition("[")
        raise exc.for_field("input" if single else f"input{bracket}{index}") from exc
