"""Pydantic models of OpenAI's requests and responses, as far as the server supports them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag

from super_advanced_agents.agents.chatting import DEFAULT_SESSION
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.generation import GenerationOptions
from super_advanced_agents.server.http.schemas.results import MatchOut
from super_advanced_agents.server.http.schemas.strict import StrictBody
from super_advanced_agents.types import ChatMessage

_DEFAULT_NEW_TOKENS = 256
_MAX_TEXTS = 2_048
"""The most texts in one request of OpenAI's API, which its clients count on."""
_MAX_TOKENS_OF_TEXT = 8_192
_MAX_TOKENS = 300_000
"""The most tokens of all texts together, as in OpenAI's API."""
_MAX_MESSAGES = 1_000
_MAX_NEW_TOKENS = 32_768
_MAX_TOOL_CALLS = 128

_ACCEPTED_VALUES: dict[str, tuple[JsonValue, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "top_logprobs": (0,),
    "function_call": ("none", "auto"),
    "reasoning_effort": (),
    "verbosity": (),
    "prediction": (),
    "audio": (),
    "web_search_options": (),
}
"""The values of unsupported members that have no effect; any other value is refused."""


def _one_or_many(value: object) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


_OneOrMany = Annotated[
    Annotated[str, Tag("<one>")] | Annotated[list[str], Field(fail_fast=True), Tag("<many>")],
    Discriminator(_one_or_many),
]
"""A string or a list of strings. Error messages leave the tags in `<>` out."""


def _form_of_input(value: object) -> str:
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int):
        return "<tokens>"
    return "<token lists>" if isinstance(first, list) else _one_or_many(value)


_Tokens = Annotated[list[int], Field(fail_fast=True, max_length=_MAX_TOKENS_OF_TEXT)]
_TextsOrTokens = Annotated[
    Annotated[str, Tag("<one>")]
    | Annotated[list[str], Field(fail_fast=True), Tag("<many>")]
    | Annotated[_Tokens, Tag("<tokens>")]
    | Annotated[list[_Tokens], Field(fail_fast=True), Tag("<token lists>")],
    Discriminator(_form_of_input),
]


class EmbeddingsIn(StrictBody):
    """The body of `POST /v1/embeddings`. The field `user` is ignored."""

    input: _TextsOrTokens
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None

    @property
    def holds_tokens(self) -> bool:
        """True if `inputs` returns lists of tokens in place of texts."""
        return _form_of_input(self.input) in {"<tokens>", "<token lists>"}

    @property
    def is_single(self) -> bool:
        """True if `input` is one text or list of tokens, and not a list of them."""
        return _form_of_input(self.input) in {"<one>", "<tokens>"}

    def inputs(self) -> list[Any]:
        """Return the texts or lists of tokens to embed, as a list.

        Raises:
            InvalidInputError: there are none, or too many.
        """
        inputs: list[Any] = [self.input] if self.is_single else list(self.input)
        if not 1 <= len(inputs) <= _MAX_TEXTS:
            raise InvalidInputError(f"input must hold 1 to {_MAX_TEXTS} texts, not {len(inputs)}", field="input")
        if self.holds_tokens and sum(map(len, inputs)) > _MAX_TOKENS:
            raise InvalidInputError(f"input must hold at most {_MAX_TOKENS} tokens in all", field="input")
        return inputs


class EmbeddingUsage(BaseModel):
    """The number of tokens in the texts; estimated if an external server computes the vectors."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingOut(BaseModel):
    """The embedding of one text, as numbers or as base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsOut(BaseModel):
    """The embeddings in the order of the texts, normalized to length 1."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage


class TextPart(StrictBody):
    """A part of a chat message's content that is a text."""

    type: Literal["text"]
    text: str


class RefusalPart(StrictBody):
    """A part of a chat message's content in which a model refused to answer."""

    type: Literal["refusal"]
    refusal: str


def _kind_of_part(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "<refusal>" if kind == "refusal" else "<text>"


_Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")], Discriminator(_kind_of_part)
]


def _text_or_parts(value: object) -> str:
    return "<parts>" if isinstance(value, list) else "<text>"


class MessageIn(StrictBody):
    """One message of a chat; calls of tools and their results are taken as text.

    Fields of unsupported features must be empty.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[
            Annotated[str, Tag("<text>")] | Annotated[list[_Part], Field(fail_fast=True), Tag("<parts>")],
            Discriminator(_text_or_parts),
        ]
        | None
    ) = None
    name: str | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    audio: None = None
    function_call: dict[str, JsonValue] | None = None
    tool_calls: Annotated[list[JsonValue], Field(max_length=_MAX_TOOL_CALLS)] | None = None
    annotations: list[JsonValue] | None = None
    reasoning_content: str | None = None

    def message(self) -> ChatMessage:
        """Convert the message to a `ChatMessage`; join its parts, and treat `developer` as `system`.

        What a tool gave is a message of the user, since the models here know no tools. What a model thought
        (`reasoning_content`) is left out.
        """
        parts = self.content if isinstance(self.content, list) else ()
        texts = [part.text if isinstance(part, TextPart) else part.refusal for part in parts]
        content = self.content if isinstance(self.content, str) else "\n".join(texts)
        content = content or self.refusal or ""
        calls: list[JsonValue] = [*(self.tool_calls or ()), *([self.function_call] if self.function_call else ())]
        if calls:
            told = [f"[tool call] {orjson.dumps(call).decode()}" for call in calls]
            content = "\n".join([*([content] if content else []), *told])
        if self.role in {"tool", "function"}:
            return ChatMessage(role="user", content=f"[tool result]\n{content}")
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(StrictBody):
    """Options of a streamed completion; `include_usage` adds a last chunk with the token counts."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatIn(StrictBody):
    """The body of `POST /v1/chat/completions`.

    The fields from `n` to `web_search_options` are accepted only with their default effect; those from `user` on are
    ignored, but for `store` and the member `session` of `metadata` where an agent answers.
    """

    model: str
    messages: Annotated[list[MessageIn], Field(fail_fast=True, min_length=1, max_length=_MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MAX_NEW_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MAX_NEW_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    stop: _OneOrMany | None = None

    n: int | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    logit_bias: dict[str, JsonValue] | None = None
    tools: list[JsonValue] | None = None
    tool_choice: JsonValue = None
    functions: list[JsonValue] | None = None
    response_format: dict[str, JsonValue] | None = None
    modalities: list[str] | None = None
    top_logprobs: int | None = None
    function_call: JsonValue = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prediction: dict[str, JsonValue] | None = None
    audio: dict[str, JsonValue] | None = None
    web_search_options: dict[str, JsonValue] | None = None

    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None

    @property
    def max_new_tokens(self) -> int | None:
        """The token limit of the answer: `max_completion_tokens`, or its older name `max_tokens`."""
        return self.max_completion_tokens or self.max_tokens

    def session(self) -> str | None:
        """Return the session in which the exchange is to be remembered; None without `store`.

        Raises:
            InvalidInputError: `metadata.session` is not a name, or the last message is not the user's.
        """
        if not self.store:
            return None
        last = len(self.messages) - 1
        if self.messages[last].role != "user":
            raise InvalidInputError(
                f"messages[{last}].role must be 'user': what is stored is an exchange with a user",
                field=f"messages[{last}].role",
                hint="leave store out",
            )
        session = (self.metadata or {}).get("session", DEFAULT_SESSION)
        if not isinstance(session, str):
            raise InvalidInputError("metadata.session must be a string", field="metadata.session")
        return checked_text(session, "metadata.session", max_bytes=LIMITS.uid_chars)

    def options(self) -> GenerationOptions:
        """Convert the body to options of text generation; refuse values of unsupported fields.

        Raises:
            InvalidInputError: an unsupported member has another value than its default, or one is out of range.
        """
        for name, values in _ACCEPTED_VALUES.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                raise InvalidInputError(f"{name} is not supported with this value", field=name, hint="leave it out")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return GenerationOptions(
            max_length=self.max_new_tokens or _DEFAULT_NEW_TOKENS,
            stop=stop,
            temperature=self.temperature or 0.0,
            seed=self.seed,
        )


class MessageOut(BaseModel):
    """The message that the language model generated."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The answer of a completion, and the reason why its text ended."""

    index: Literal[0] = 0
    message: MessageOut
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatUsage(BaseModel):
    """The token counts of prompt and answer; estimated if the model server reports none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatOut(BaseModel):
    """A chat completion. Its field `sources`, which OpenAI's API lacks, lists the memories in the prompt."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    sources: list[MatchOut] | None = None


class ModelOut(BaseModel):
    """One accepted value of `model`: the language model, the embedding model or an agent."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelsOut(BaseModel):
    """The accepted values of `model` in requests."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class ErrorBody(BaseModel):
    """An error's message, type and code, and the request field that is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorOut(BaseModel):
    """An error in the format of OpenAI's API."""

    error: ErrorBody
