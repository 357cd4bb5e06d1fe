"""The shapes of OpenAI's API, as far as they are offered: what its unmodified clients send and read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, JsonValue, Tag
from pydantic_core import PydanticCustomError

from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.generation import GenerationOptions
from super_advanced_agents.server.http.schemas.results import MatchOut
from super_advanced_agents.types import ChatMessage

_NEW_TOKENS = 256
_BATCH = LIMITS.batch_records
_MOST_MESSAGES = 1_000
_MOST_NEW_TOKENS = 32_768

_AS_IT_IS: dict[str, tuple[JsonValue, ...]] = {
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
}
"""What clients send although they want what is done anyway; any other value would change the answer, and is refused."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _one_or_many(value: object) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


_OneOrMany = Annotated[Annotated[str, Tag("<one>")] | Annotated[list[str], Tag("<many>")], Discriminator(_one_or_many)]
"""A string or a list of strings; the tags stay out of error messages."""


def _no_tokens(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(each, int | list) for each in value[:1]):
        raise PydanticCustomError("tokens", "lists of tokens are not taken; send the texts themselves")
    return value


class EmbeddingsIn(_Body):
    """The body of `POST /v1/embeddings`; `user` is not looked at."""

    input: Annotated[_OneOrMany, BeforeValidator(_no_tokens)]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None

    def texts(self) -> list[str]:
        """What to embed, at least one text."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not 1 <= len(texts) <= _BATCH:
            raise InvalidInputError(f"input must hold 1 to {_BATCH} texts, not {len(texts)}", field="input")
        return texts


class EmbeddingUsage(BaseModel):
    """Tokens read; estimated from the texts' length where only an embedding server knows."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingOut(BaseModel):
    """One vector, as numbers or as little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsOut(BaseModel):
    """The vectors in the order of the texts, each of length 1."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage


class TextPart(_Body):
    """A part of a message; only text is read."""

    type: Literal["text"]
    text: str


def _text_or_parts(value: object) -> str:
    return "<parts>" if isinstance(value, list) else "<text>"


class MessageIn(_Body):
    """One message of a chat; what else a client may send back of an answer must be empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[TextPart], Tag("<parts>")], Discriminator(_text_or_parts)
    ]
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    annotations: list[JsonValue] | None = None

    def message(self) -> ChatMessage:
        """The library's value."""
        content = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=content)


class StreamOptions(_Body):
    """Whether a last chunk carries the usage."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatIn(_Body):
    """The body of `POST /v1/chat/completions`.

    What is listed last is accepted for what it does by default and refused with any other value, or not looked at.
    """

    model: str
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=_MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_NEW_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_NEW_TOKENS)] | None = None
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

    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None

    @property
    def max_new_tokens(self) -> int | None:
        """The limit, by whichever of its names it was given."""
        return self.max_completion_tokens or self.max_tokens

    def options(self) -> GenerationOptions:
        """How to write the answer.

        Raises:
            InvalidInputError: something was asked for that is not offered, or is out of range.
        """
        for name, values in _AS_IT_IS.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                raise InvalidInputError(f"{name} is not offered here", field=name, hint="leave it out")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return GenerationOptions(
            max_length=self.max_new_tokens or _NEW_TOKENS,
            stop=stop,
            temperature=self.temperature or 0.0,
            seed=self.seed,
        )


class MessageOut(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: MessageOut
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatUsage(BaseModel):
    """Tokens read and written; estimated where a language model server does not tell."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatOut(BaseModel):
    """An answer; `sources`, which OpenAI's API does not have, are the memories that an agent's model was shown."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    sources: list[MatchOut] | None = None


class ModelOut(BaseModel):
    """A name to use as `model`: the language model, the embedding model, or an agent."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelsOut(BaseModel):
    """All names to use."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class ErrorBody(BaseModel):
    """What went wrong: in words, as a kind, the member of the request that is to blame, and a name for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorOut(BaseModel):
    """How OpenAI's API tells errors, with the statuses of the rest of this server."""

    error: ErrorBody
