"""The text generator: a bounded queue and worker threads that call a language model engine."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator
from super_advanced_agents._runtime.metering import meter_prompt
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents._runtime.queues.channel import Channel
from super_advanced_agents._runtime.remote.server_pool import ServerStatus
from super_advanced_agents.config import DEFAULT_GENERATION_MODEL
from super_advanced_agents.errors import ConfigurationError, ResourceClosedError
from super_advanced_agents.generation.base import (
    GenerationEngine,
    GenerationOptions,
    MessageLike,
    Usage,
    checked_messages,
    checked_prompt,
)
from super_advanced_agents.generation.job import Job, appender
from super_advanced_agents.generation.llamacpp import LlamaCppEngine
from super_advanced_agents.generation.openai_servers import count_of, server_engine
from super_advanced_agents.telemetry import get_logger, histogram, stage, timed
from super_advanced_agents.types import ChatMessage

_log = get_logger("generation")

_STREAM_PIECES = 64
_DRAIN_S = 5.0
_SLOTS, _SERVER_SLOTS = 2, 8  # in this process, where each takes 45 MB, and on a server
_RESERVED_SLOTS = 4
"""One slot of this many, and of fewer, is kept free of any single tenant's generations."""


class LLMGenerator(Resource):
    """Generate texts with one language model, which sync and async callers share.

    The constructor does not load the model: the first use (or `load`, `aload`) does, and downloads its file when it is
    missing. The model's chat template turns the prompt into a user's message. With `temperature=0` (the default) the
    same prompt gives the same text; with a higher temperature, the same prompt and seed do.

    Thoughts that a model writes before its answer, such as `<think>...</think>`, are left out.

    Cancelling an async call, or leaving a stream early, frees its slot within one token (within one batch of 128 tokens
    while the model reads a long prompt).

    Args:
        model: a name of the registry, the path of a .gguf file, or with `base_url` the server's name of a model.
        base_url: the URL of an OpenAI-compatible server, such as `"http://127.0.0.1:8080/v1"`, or a list of several.
        api_key: the key for that server, if it requires one; of several, one for all or a list with one for each.
        models_dir: the folder of all models; the default folder when None.
        pull: download a missing known model at first use; when False, the first use raises `ModelNotFoundError`.
        slots: the number of concurrent generations; when None 2 with llama.cpp, where each takes memory (45 MB with
            the default model), else 8 for each server. On a server, one tenant gets three quarters of them, but one,
            so that another one's first answer starts at once.
        context_tokens: the most prompt and new tokens of one generation together (llama.cpp only).
        max_queue: the most callers that may wait for a slot; further calls raise `OverloadedError`. Tenants of a server
            take turns, and the one that has the most waiting is refused first.
        threads: CPU threads for the model; as many as the process may use when None (llama.cpp only).
        timeout_s: the longest time in which a server may send nothing (`base_url` only).
        max_retries: retries before the first token when the server is unreachable or busy; several are tried in turn.
        engine: any other engine; the arguments above that configure an engine are ignored then.

    Raises:
        ConfigurationError: a number is out of range, or `base_url` is not an http(s) URL.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_GENERATION_MODEL,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key: str | Sequence[str | None] | None = None,
        models_dir: str | Path | None = None,
        pull: bool = True,
        slots: int | None = None,
        context_tokens: int = 2048,
        max_queue: int = 64,
        threads: int | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 2,
        engine: GenerationEngine | None = None,
    ) -> None:
        if slots is None:
            slots = _SLOTS if engine is None and base_url is None else _SERVER_SLOTS * count_of(base_url)
        for name, value in (("slots", slots), ("context_tokens", context_tokens), ("max_queue", max_queue)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a positive integer, not {value!r}")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ConfigurationError(f"threads must be a positive integer or None, not {threads!r}")
        if engine is not None:
            self._engine = engine
        elif base_url is not None:
            self._engine = server_engine(str(model), base_url, api_key, timeout_s=timeout_s, max_retries=max_retries)
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
        # None loads the model.
        self._queue: MicroBatcher[Job | None, None] = MicroBatcher(
            self._run_next,
            name="generation",
            max_batch_cost=1,
            max_queue_cost=max_queue,
            max_running_per_share=max(1, min(slots - 1, slots - slots // _RESERVED_SLOTS)),
            on_refused=_refuse,
            workers=slots,
        )
        self._open_lock = threading.Lock()
        self._opened = False
        self._jobs_lock = threading.Lock()
        self._jobs: set[Job] = set()
        self._requests = 0
        self._tokens = 0

    @property
    def model_id(self) -> str:
        """An id made of the model's name and a digest of its weights or its server's host."""
        return self._engine.model_id

    @property
    def context_tokens(self) -> int | None:
        """The most prompt and new tokens of one generation; None where a server does not say it."""
        return self._engine.context_tokens

    @property
    def loaded(self) -> bool:
        """True once the model is loaded, or the client of its server is made."""
        return self._opened

    def stats(self) -> dict[str, int]:
        """Return the numbers of requests, new tokens, running generations and queued generations.

        Returns:
            `requests` and `tokens` (pieces of text) since the start, `active` and `queued` generations now.
        """
        with self._jobs_lock:
            active = sum(job.running for job in self._jobs)
            return {
                "requests": self._requests,
                "tokens": self._tokens,
                "active": active,
                "queued": len(self._jobs) - active,
            }

    def server_status(self) -> list[ServerStatus]:
        """Return the state of each of several servers; an empty list for one server or none."""
        return self._engine.server_status()

    async def aload(self) -> None:
        """Load the model now instead of at the first use.

        Raises:
            ModelNotFoundError: the model's file is damaged, or missing and could not be downloaded.
            GenerationError: the engine cannot load the model.
        """
        self._check_open()
        await self._queue.submit(None)

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
        """Generate the model's reply to one user prompt, at most `max_length` tokens long.

        Args:
            prompt: the user's message; its tokens and `max_length` share the context.
            max_length: the most NEW tokens.
            stop: strings that end the text and are not part of it.
            temperature: 0 is greedy; a positive number samples.
            seed: the seed, which makes sampling reproducible; random when None.

        Returns:
            The new text, without the prompt.

        Raises:
            InvalidInputError: an argument is invalid, or the prompt is longer than the context; `field` names it.
            OverloadedError: the queue is full.
            ModelNotFoundError: the model's file is damaged, or missing and could not be downloaded.
            GenerationError: the engine failed.
            ResourceClosedError: the generator is closed, or was closed before the text was finished.
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
        """Generate the assistant's next message of a chat, and return its text.

        Args:
            messages: the chat, each message with a role (`system`, `user`, `assistant`) and content.
            max_length: the most NEW tokens.
            stop: strings that end the text and are not part of it.
            temperature: 0 is greedy; a positive number samples.
            seed: the seed, which makes sampling reproducible; random when None.

        Raises:
            SuperAdvancedAgentsError: an error that `agenerate` raises.
        """
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
        """Yield the model's reply to one user prompt in pieces, as they are generated.

        Leaving the loop early ends the generation. Arguments and errors are those of `agenerate`.
        """
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        checked = checked_prompt(prompt, self._engine.max_prompt_bytes)
        async with aclosing(self._stream(checked, options)) as pieces:
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
        """Yield the assistant's next message of a chat in pieces, as they are generated.

        Leaving the loop early ends the generation. Arguments and errors are those of `achat`.

        `on_end` receives the token counts after the last piece, unless the engine does not count.
        """
        options = GenerationOptions(max_length=max_length, stop=stop, temperature=temperature, seed=seed)
        checked = checked_messages(messages, self._engine.max_prompt_bytes)
        async with aclosing(self._stream(checked, options, on_end)) as pieces:
            async for piece in pieces:
                yield piece

    stream_chat = blocking_iterator(astream_chat)

    async def _complete(self, messages: list[ChatMessage], options: GenerationOptions) -> str:
        self._check_open()
        await meter_prompt(*(message.content for message in messages))
        pieces: list[str] = []
        job = Job(messages, options, appender(pieces))
        self._register(job)
        try:
            with stage("generate"):
                await self._queue.submit(job)
        finally:
            self._unregister(job)
        return "".join(pieces)

    async def _stream(
        self,
        messages: list[ChatMessage],
        options: GenerationOptions,
        on_end: Callable[[Usage], None] | None = None,
    ) -> AsyncGenerator[str, None]:
        self._check_open()
        await meter_prompt(*(message.content for message in messages))
        channel: Channel[str] = Channel(_STREAM_PIECES)
        job = Job(messages, options, channel.put, channel)
        self._register(job)
        pieces = channel.items()
        waiting: Future[None] | None = None
        try:
            waiting = self._queue.submit(job)
            async for piece in pieces:
                yield piece
            if on_end is not None and job.usage is not None:
                on_end(job.usage)
        finally:
            self._unregister(job)
            if waiting is not None:
                waiting.cancel()  # it leaves the queue if its turn has not come
            await pieces.aclose()

    def _register(self, job: Job) -> None:
        with self._jobs_lock:
            self._jobs.add(job)
            self._requests += 1

    def _unregister(self, job: Job) -> None:
        # A worker that still generates for this job stops at its next token, and removes the job itself.
        job.stop()
        with self._jobs_lock:
            if not job.running:
                self._jobs.discard(job)

    def _run_next(self, jobs: list[Job | None]) -> list[None]:
        [job] = jobs
        if job is None:
            self._open_engine()
        else:
            self._run(job)
        return [None]

    def _run(self, job: Job) -> None:
        error: BaseException | None = None
        try:
            with self._jobs_lock:
                if not job.has_caller():
                    return
                job.running = True
            self._open_engine()
            job.usage = self._engine.generate(
                job.messages, job.options, lambda piece: self._emit(job, piece), job.on_interruptible
            )
            if not job.has_caller():
                raise _closed_error()
            if rest := job.take_rest():
                job.put(rest)
        except BaseException as exc:
            error = exc
            raise
        finally:
            with self._jobs_lock:
                job.running = False
                self._jobs.discard(job)
            job.finish(error)

    def _emit(self, job: Job, piece: str) -> bool:
        if piece:
            with self._jobs_lock:
                self._tokens += 1
            text = job.take(piece)
            if text and not job.stopped and not job.put(text):
                job.stop()
        return not job.ended

    def _open_engine(self) -> None:
        with self._open_lock:
            if not self._opened:
                if self.closed:
                    raise _closed_error()
                with timed("load language model", histogram("model_load_seconds", model="generation")):
                    self._engine.open()
                self._opened = True
                _log.info("generation.opened", extra={"model_id": self._engine.model_id})

    def _release(self) -> None:
        self._queue.close(drain_s=_DRAIN_S)
        with self._jobs_lock:
            unfinished = list(self._jobs)
        for job in unfinished:
            job.stop()
        self._queue.close()  # a stopped generation ends at its next token
        for job in unfinished:
            job.finish(_closed_error())
        with self._open_lock:
            self._engine.close()


def _refuse(job: Job | None, error: BaseException) -> None:
    # Ends a queued job that another share displaced. The reader of a stream waits for its pieces, not for its future.
    if job is not None:
        job.finish(error)


def _closed_error() -> ResourceClosedError:
    return ResourceClosedError("the LLMGenerator was closed before this text was finished", hint="open a new one")
