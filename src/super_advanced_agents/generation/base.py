"""The interface of language model engines (backends), and their validated inputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents._runtime.remote.server_pool import ServerStatus
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import ChatMessage

Emit: TypeAlias = Callable[[str], bool]
"""A callback that takes a piece of text, and returns False once the caller needs no more.

An empty piece adds no text; an engine sends one to learn whether to go on.
"""

OnInterruptible: TypeAlias = Callable[[Callable[[], None]], None]
"""A callback that receives a function, which interrupts the engine while it waits.

The generator calls the received function from another thread once the caller needs no more text; it must not block.
"""

MessageLike: TypeAlias = ChatMessage | Mapping[str, str]
"""A chat message, or a mapping with `"role"` and `"content"`."""

ROLES = ("system", "user", "assistant")
_MAX_SEED = 2**32 - 2  # llama.cpp reads 2**32 - 1 as "choose one at random"
_MAX_STOPS = 16
_MAX_STOP_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """Hold the validated options of one generation: length, stop strings, temperature and seed.

    Attributes:
        max_length: the most new tokens to generate.
        stop: at most 16 strings that end the text and are not part of it.
        temperature: 0 takes the most probable token each time (greedy); a positive number samples.
        seed: the seed, which makes sampling reproducible; random when None.

    Raises:
        InvalidInputError: an option is out of range; `field` names it.
    """

    max_length: int = 100
    stop: Sequence[str] = ()
    temperature: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if type(self.max_length) is not int or self.max_length < 1:
            raise _invalid("max_length", f"must be a positive number of tokens, not {self.max_length!r}")
        number = isinstance(self.temperature, int | float) and not isinstance(self.temperature, bool)
        if not number or not math.isfinite(self.temperature) or self.temperature < 0:
            raise _invalid("temperature", f"must be a finite number >= 0, not {self.temperature!r}")
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed <= _MAX_SEED):
            raise _invalid("seed", f"must be None or an integer from 0 to {_MAX_SEED}, not {self.seed!r}")
        if isinstance(self.stop, str) or len(self.stop) > _MAX_STOPS:
            raise _invalid("stop", f"must be a sequence of at most {_MAX_STOPS} strings")
        for i, stop in enumerate(self.stop):
            _check_text(stop, f"stop[{i}]")
            if len(stop) > _MAX_STOP_CHARS:
                raise _invalid(f"stop[{i}]", f"has {len(stop)} characters; the limit is {_MAX_STOP_CHARS}")
        object.__setattr__(self, "stop", tuple(self.stop))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Hold the token counts of one text generation, as its language model engine reports them.

    Attributes:
        prompt_tokens: the tokens of all messages in the model's chat template; None when a server did not report them.
        new_tokens: the tokens that were generated.
        cut: True when `max_length` or the context's end cut the text off; False when the model or a stop string ended
            it.
    """

    prompt_tokens: int | None
    new_tokens: int
    cut: bool


class GenerationEngine(ABC):
    """Generate a chat's next message in pieces; the base class of language model engines.

    `LLMGenerator` calls an engine from worker threads, from `slots` of them concurrently. It calls `open` once before
    the first `generate`, and `close` once after the last one has returned.
    """

    @property
    @abstractmethod
    def model_id(self) -> str:
        """A string that identifies the model, precise enough to be part of a cache key."""

    @property
    @abstractmethod
    def max_prompt_bytes(self) -> int:
        """The maximum size of a prompt: the UTF-8 bytes of all its messages together.

        A longer prompt is refused before the engine is called.
        """

    @property
    def context_tokens(self) -> int | None:
        """The most prompt and new tokens of one generation together; None where it is not known."""
        return None

    @abstractmethod
    def open(self) -> None:
        """Load the model, or create the HTTP client of a server; blocks."""

    @abstractmethod
    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage | None:
        """Generate the chat's next message, and pass each piece of text to `emit`; blocks.

        The text ends when the model or `options` end it, or when `emit` returns False.

        Args:
            messages: the chat, validated.
            options: the options, validated.
            emit: receives each piece of text.
            on_interruptible: takes a function that interrupts the generation. An engine that may wait long between two
                calls of `emit` passes one.

        Returns:
            The token counts; None from an engine that does not count.

        Raises:
            InvalidInputError: the prompt is longer than the model's context.
            GenerationError: the engine failed.
        """

    def server_status(self) -> list[ServerStatus]:
        """Return the state of each of several servers; an empty list for other engines."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Free the model or connections; do nothing if `open` failed or was never called."""


class StopFilter:
    """End streamed text before its first stop string.

    A stop string may span several pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._pending = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """Take the next piece of streamed text, and return the text that can be passed on.

        A suffix that may begin a stop string is held back until a later call decides.
        """
        if self.stopped or not self._stops:
            return "" if self.stopped else piece
        text = self._pending + piece
        stop_positions = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if stop_positions:
            self.stopped, self._pending = True, ""
            return text[: min(stop_positions)]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._pending = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return the text held back as a possible stop string, at the end of the stream."""
        pending, self._pending = self._pending, ""
        return pending


def _overlap(text: str, stop: str) -> int:
    # The length of the longest suffix of `text` that is a proper prefix of `stop`.
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0


def checked_prompt(prompt: str, max_bytes: int) -> list[ChatMessage]:
    """Validate a prompt, and return it as a chat with one user message.

    Raises:
        InvalidInputError: the prompt is empty, too long or not text; `field` is `prompt`.
    """
    _check_text(prompt, "prompt")
    _check_size([prompt], "prompt", max_bytes)
    return [ChatMessage(role="user", content=prompt)]


def checked_messages(messages: Iterable[MessageLike], max_bytes: int) -> list[ChatMessage]:
    """Validate the messages of a chat, and return them as a list of `ChatMessage`.

    A model may have answered nothing, and a program may have no instructions: such empty messages are valid, and are
    left out.

    Raises:
        InvalidInputError: a message is invalid, or all together are too long; `field` names the message.
    """
    if isinstance(messages, str | Mapping):
        raise _invalid("messages", "must be a sequence of messages with 'role' and 'content'")
    checked = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    checked = [message for message in checked if message.content]
    if not checked:
        raise _invalid("messages", "must hold at least one message with content")
    _check_size([message.content for message in checked], "messages", max_bytes)
    return checked


def _message(message: MessageLike, field: str) -> ChatMessage:
    role: object
    content: object
    if isinstance(message, ChatMessage):
        role, content = message.role, message.content
    elif isinstance(message, Mapping):
        unknown = set(message) - {"role", "content"}
        if unknown:
            raise _invalid(field, f"has unknown keys {sorted(map(str, unknown))}; it takes 'role' and 'content'")
        role, content = message.get("role"), message.get("content")
    else:
        raise _invalid(field, f"must be a ChatMessage or a mapping, not {type(message).__name__}")
    if not isinstance(role, str) or role not in ROLES:
        raise _invalid(f"{field}.role", f"must be one of {', '.join(ROLES)}, not {role!r}")
    if role in {"assistant", "system"} and content == "":
        return ChatMessage(role=role, content="")
    return ChatMessage(role=role, content=_check_text(content, f"{field}.content"))


def _check_text(text: object, field: str) -> str:
    if not isinstance(text, str):
        raise _invalid(field, f"must be a string, not {type(text).__name__}")
    if not text or (field == "prompt" and text.isspace()):
        raise _invalid(field, "is empty")
    if "\0" in text:
        raise _invalid(field, f"holds a NUL character at position {text.index(chr(0))}")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise _invalid(field, f"holds a lone surrogate at position {exc.start}, which is not text") from exc
    return text


def _check_size(texts: Sequence[str], field: str, max_bytes: int) -> None:
    size_bytes = sum(len(text.encode()) for text in texts)
    if size_bytes > max_bytes:
        raise _invalid(field, f"has {size_bytes} bytes; the limit for this model's context is {max_bytes}")


def _invalid(field: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"{field} {why}", field=field)
