"""`LLMGenerator`: one face for every language model engine, with a bounded queue and as many workers as slots."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.channel import Channel
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator
from super_advanced_agents.config import DEFAULT_GENERATION_MODEL
from super_advanced_agents.errors import ConfigurationError, ResourceClosedError
from super_advanced_agents.generation.base import (
    GenerationEngine,
    GenerationOptions,
    MessageLike,
    StopFilter,
    Usage,
    checked_messages,
    checked_prompt,
)
from super_advanced_agents.generation.llamacpp import LlamaCppEngine
from super_advanced_agents.generation.openai import OpenAIEngine
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import ChatMessage

_log = get_logger("generation")

_STREAM_PIECES = 64
_DRAIN_S = 5.0


class LLMGenerator(Resource):
    """Generates text with a language model; concurrent callers, sync and async alike, share the model.

    The first use (or `load` / `aload`), never the constructor, loads the model and pulls its file when it is missing.
    An instruct model gets the prompt through its chat template, as the user's message. With `temperature=0` (the
    default) the same prompt gives the same text; above it, the same prompt and seed do.

    Cancelling an `averb`, or leaving a stream early, frees its slot within one token (within one batch of 128 tokens
    while a long prompt is read).

    Args:
        model: a name of the registry, the path of a .gguf file, or with `base_url` that server's name for a model.
        base_url: an OpenAI-compatible server (vLLM, llama-server, Ollama), such as `"http://127.0.0.1:8080/v1"`.
        api_key: that server's key, if it wants one.
        models_dir: where pulled models live; the default folder when None.
        pull: fetch a missing known model at first use; else that raises `ModelNotFoundError`.
        slots: generations side by side.
        context_tokens: prompt and new tokens of one generation together (llama.cpp only).
        max_queue: callers that may wait for a slot; beyond it `OverloadedError`.
        threads: cores for the model; all this process may use when None (llama.cpp only).
        timeout_s: how long a server may be silent (`base_url` only).
        max_retries: further attempts before the first token when a server is unreachable or busy (`base_url` only).
        engine: an engine of yours instead of all that.

    Raises:
        ConfigurationError: a number is out of range, or `base_url` is no http(s) URL.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_GENERATION_MODEL,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        models_dir: str | Path | None = None,
        pull: bool = True,
        slots: int = 8,
        context_tokens: int = 2048,
        max_queue: int = 64,
        threads: int | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 2,
        engine: GenerationEngine | None = None,
    ) -> None:
        for name, value in (("slots", slots), ("context_tokens", context_tokens), ("max_queue", max_queue)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a positive integer, not {value!r}")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ConfigurationError(f"threads must be a positive integer or None, not {threads!r}")
        if engine is not None:
            self._engine = engine
        elif base_url is not None:
            self._engine = OpenAIEngine(
                str(model), base_url=base_url, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries
            )
        else:
            self._engine = LlamaCppEngine(
                model,
                models_dir=models_dir,
                pull_missing=pull,
                slots=slots,
                context_tokens=context_tokens,
                threads=threads,
            )
        super().__init__()
        self._workers = Workers(name="generation", threads=slots, max_queue=max_queue)
        self._opening = threading.Lock()
        self._opened = False
        self._jobs_changed = threading.Lock()
        self._jobs: set[_Job] = set()
        self._requests = 0
        self._tokens = 0

    @property
    def model_id(self) -> str:
        """Which model answers: its name and what tells its weights apart."""
        return self._engine.model_id

    def stats(self) -> dict[str, int]:
        """Counts since this was made: `requests`, `tokens` (pieces of text); and now: `active`, `queued`."""
        with self._jobs_changed:
            active = sum(job.running for job in self._jobs)
            return {
                "requests": self._requests,
                "tokens": self._tokens,
                "active": active,
                "queued": len(self._jobs) - active,
            }

    async def aload(self) -> None:
        """Load the model now instead of at the first use.

        Raises:
            ModelNotFoundError: its file is missing and could not be fetched, or is damaged.
            GenerationError: the engine refused it.
        """
        self._check_open()
        await self._workers.submit(self._open_engine)

    load = blocking(aload)

    async def agenerate(
        self,
        prompt: str,
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str:
        """Generate at most `max_length` new tokens after `prompt`.

        Args:
            prompt: the user's message; its tokens and `max_length` share the context.
            max_length: NEW tokens at most.
            stop: strings that end the text and are not part of it.
            temperature: 0 is greedy.
            seed: makes sampling repeatable.

        Raises:
            InvalidInputError: an argument is wrong, or the prompt is longer than the context; `field` names it.
            OverloadedError: the queue is full.
            ModelNotFoundError: the model's file is missing and could not be fetched, or is damaged.
            GenerationError: the engine failed.
        """
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        return await self._complete(checked_prompt(prompt, self._engine.max_prompt_bytes), options)

    generate = blocking(agenerate)

    async def achat(
        self,
        messages: Iterable[MessageLike],
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str:
        """Answer a chat: messages with a role (`system`, `user`, `assistant`) and content; else as `agenerate`."""
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        return await self._complete(checked_messages(messages, self._engine.max_prompt_bytes), options)

    chat = blocking(achat)

    async def astream(
        self,
        prompt: str,
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """The text of `agenerate`, piece by piece as it is made; leaving the loop early frees the slot."""
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        asked = checked_prompt(prompt, self._engine.max_prompt_bytes)
        async with aclosing(self._stream(asked, options)) as pieces:
            async for piece in pieces:
                yield piece

    stream = blocking_iterator(astream)

    async def astream_chat(
        self,
        messages: Iterable[MessageLike],
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
        on_end: Callable[[Usage], None] | None = None,
    ) -> AsyncGenerator[str, None]:
        """The text of `achat`, piece by piece as it is made; leaving the loop early frees the slot.

        `on_end` is told what it took, after the last piece; engines that do not count tell nothing.
        """
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        asked = checked_messages(messages, self._engine.max_prompt_bytes)
        async with aclosing(self._stream(asked, options, on_end)) as pieces:
            async for piece in pieces:
                yield piece

    stream_chat = blocking_iterator(astream_chat)

    async def _complete(self, messages: list[ChatMessage], options: GenerationOptions) -> str:
        self._check_open()
        pieces: list[str] = []
        job = _Job(messages, options, _into(pieces))
        self._register(job)
        try:
            await self._workers.submit(lambda: self._run(job))
        finally:
            self._forget(job)
        return "".join(pieces)

    async def _stream(
        self,
        messages: list[ChatMessage],
        options: GenerationOptions,
        on_end: Callable[[Usage], None] | None = None,
    ) -> AsyncGenerator[str, None]:
        self._check_open()
        channel: Channel[str] = Channel(_STREAM_PIECES)
        job = _Job(messages, options, channel.put, channel)
        self._register(job)
        pieces = channel.items()
        try:
            self._workers.submit(lambda: self._run(job))
            async for piece in pieces:
                yield piece
            if on_end is not None and job.usage is not None:
                on_end(job.usage)
        finally:
            self._forget(job)
            await pieces.aclose()

    def _register(self, job: _Job) -> None:
        with self._jobs_changed:
            self._jobs.add(job)
            self._requests += 1

    def _forget(self, job: _Job) -> None:
        """The caller is gone, with its text or without; a worker still busy for it stops at the next token."""
        job.stop()
        with self._jobs_changed:
            if not job.running:
                self._jobs.discard(job)

    def _run(self, job: _Job) -> None:
        """One generation, in a worker thread."""
        error: BaseException | None = None
        try:
            with self._jobs_changed:
                if not job.wanted():
                    return
                job.running = True
            self._open_engine()
            job.usage = self._engine.generate(
                job.messages, job.options, lambda piece: self._emit(job, piece), job.on_interruptible
            )
            if not job.wanted():
                raise _closed()
            if rest := job.filter.flush():
                job.put(rest)
        except BaseException as exc:
            error = exc
            raise
        finally:
            with self._jobs_changed:
                job.running = False
                self._jobs.discard(job)
            job.finish(error)

    def _emit(self, job: _Job, piece: str) -> bool:
        if piece:
            with self._jobs_changed:
                self._tokens += 1
            text = job.filter.feed(piece)
            if text and not job.stopped and not job.put(text):
                job.stop()
        return not job.stopped and not job.filter.stopped

    def _open_engine(self) -> None:
        with self._opening:
            if not self._opened:
                if self.closed:
                    raise _closed()
                self._engine.open()
                self._opened = True
                _log.info("generation.opened", extra={"model_id": self._engine.model_id})

    def _release(self) -> None:
        self._workers.close(drain_s=_DRAIN_S)
        with self._jobs_changed:
            left = list(self._jobs)
        for job in left:
            job.stop()
        self._workers.close()  # a stopped generation ends at its next token
        for job in left:
            job.finish(_closed())
        with self._opening:
            self._engine.close()


class _Job:
    """One generation asked for, from its caller's side and from its worker's."""

    def __init__(
        self,
        messages: list[ChatMessage],
        options: GenerationOptions,
        put: Callable[[str], bool],
        channel: Channel[str] | None = None,
    ) -> None:
        self.messages = messages
        self.options = options
        self.put = put
        self.filter = StopFilter(options.stop)
        self.usage: Usage | None = None
        self.stopped = False
        self.running = False
        self._channel = channel
        self._interrupt: Callable[[], None] | None = None

    def wanted(self) -> bool:
        """Whether the caller still waits for more."""
        return not self.stopped

    def stop(self) -> None:
        """No more text is wanted; a worker that waits for room in a stream is let go."""
        self.stopped = True
        if self.running and self._interrupt is not None:
            self._interrupt()
        if self._channel is not None:
            self._channel.leave()

    def on_interruptible(self, interrupt: Callable[[], None]) -> None:
        """The engine says how to end its wait for the next piece."""
        self._interrupt = interrupt
        if self.stopped:
            interrupt()

    def finish(self, error: BaseException | None) -> None:
        """Tell a stream's reader that no more comes."""
        if self._channel is not None:
            self._channel.finish(error)


def _into(pieces: list[str]) -> Callable[[str], bool]:
    def put(piece: str) -> bool:
        pieces.append(piece)
        return True

    return put


def _closed() -> ResourceClosedError:
    return ResourceClosedError("the LLMGenerator was closed before this text was finished", hint="open a new one")
