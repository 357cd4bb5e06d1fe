"""A language model engine on llama.cpp, which runs in this process through `xllamacpp`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from super_advanced_agents.errors import (
    ConfigurationError,
    GenerationError,
    InvalidInputError,
    ModelNotFoundError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.generation.base import Emit, GenerationEngine, GenerationOptions, OnInterruptible, Usage
from super_advanced_agents.generation.control_tokens import KNOWN, beginnings, break_up
from super_advanced_agents.generation.gguf import read_header
from super_advanced_agents.models import MODELS, ensure, model_spec
from super_advanced_agents.telemetry import counter, get_logger
from super_advanced_agents.types import ChatMessage

_log = get_logger("generation")
_PROMPT_TOKENS = counter("prompt_tokens")

_BYTES_PER_TOKEN = 64
"""Bytes per token of context that a prompt may have at most; real text has far fewer."""

_BATCH_TOKENS = 128
"""Tokens in one pass over the weights.

A pass over this much of a long prompt takes about a second, which delays other callers and its own cancellation.
"""

_load_lock = threading.Lock()
"""Serialises loading: llama.cpp keeps its log level and its signal handlers in globals."""


class LlamaCppEngine(GenerationEngine):
    """Run a GGUF model in this process with llama.cpp.

    Concurrent generations share each pass over the weights (continuous batching).

    Args:
        model: a name of the registry, or the path of a .gguf file.
        models_dir: the folder of all models; the default folder when None.
        pull_missing: download a missing known model; when False, `open` raises `ModelNotFoundError` instead.
        slots: the number of concurrent generations.
        context_tokens: the most prompt and new tokens of one generation together.
        threads: CPU threads; as many as the process may use when None.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        models_dir: str | Path | None = None,
        pull_missing: bool = True,
        slots: int = 2,
        context_tokens: int = 2048,
        threads: int | None = None,
    ) -> None:
        self._model = model
        self._models_dir = models_dir
        self._pull_missing = pull_missing
        self._slots = slots
        self._context_tokens = context_tokens
        self._threads = threads or len(os.sched_getaffinity(0))
        self._server: Any = None
        self._model_id: str | None = None
        self._control: re.Pattern[str] | None = None

    @property
    def model_id(self) -> str:
        """An id made of the model's name and a digest of its weights.

        For a caller's own file, the digest is that of the file's header.
        """
        if self._model_id is None:
            self._model_id = self._compute_model_id()
        return self._model_id

    @property
    def max_prompt_bytes(self) -> int:
        """The maximum size of a prompt in bytes: 64 for each token of the context.

        It refuses huge texts before they are tokenized; `generate` enforces the limit in tokens.
        """
        return self._context_tokens * _BYTES_PER_TOKEN

    @property
    def context_tokens(self) -> int:
        """The most prompt and new tokens of one generation together."""
        return self._context_tokens

    def open(self) -> None:
        """Download the model's file if it is missing, verify it, and load it with llama.cpp.

        xllamacpp 2026.10 holds the GIL while it loads (0.5 s for 92 MB), so load the model before serving requests.

        Raises:
            ModelNotFoundError: the file is missing or damaged; a pulled model's sha256 is checked before loading.
            ConfigurationError: `context_tokens` is more than the model was trained for, or llama.cpp is not usable.
            GenerationError: llama.cpp cannot load the file.
        """
        self._model_id, path = self._compute_model_id(), self._locate_file()
        header = read_header(path)
        if header.control_tokens:
            self._control = beginnings(map(re.escape, header.control_tokens))
        if header.context_tokens and self._context_tokens > header.context_tokens:
            raise ConfigurationError(
                f"context_tokens is {self._context_tokens}, "
                f"but the model {self._model_id!r} was trained for {header.context_tokens}"
            )
        self._server = self._load(path)
        spec = MODELS.get(str(self._model))
        if spec is not None and spec.advice is not None:
            _advise(spec.advice)

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage:
        """Generate the chat's next message with llama.cpp, and pass each piece to `emit`; blocks.

        While the model reads a long prompt, `emit` gets an empty piece after each batch of it, and can end the
        generation.

        Raises:
            InvalidInputError: the prompt is longer than the context, or the model takes no messages in this order.
            GenerationError: llama.cpp failed.
        """
        request = {
            "messages": [{"role": message.role, "content": self._plain(message.content)} for message in messages],
            "max_tokens": options.max_length,
            "stop": list(options.stop),
            "temperature": options.temperature,
            "stream": True,
            "return_progress": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": False,  # a slot's cache of an earlier prompt would change the rounding, and so the text
        }
        if options.seed is not None:
            request["seed"] = options.seed
        reader = _EventReader(emit)
        try:
            self._server.handle_chat_completions(orjson.dumps(request), reader.on_event)
        except (ValueError, RuntimeError) as exc:
            raise _to_refusal(exc) from exc
        if reader.error is not None:
            raise reader.error
        return reader.usage()

    def busy_slots(self) -> int:
        """Return the number of generations that run now, as llama.cpp reports it."""
        metrics = self._server.handle_metrics()
        match = re.search(r"^llamacpp:requests_processing (\d+)", metrics, re.MULTILINE)
        return int(match[1]) if match else 0

    def close(self) -> None:
        """Stop llama.cpp's threads and free the model."""
        self._server = None

    def _compute_model_id(self) -> str:
        path = self._explicit_path()
        if path is not None:
            return f"{path.stem}@{read_header(path).digest[:12]}"
        spec = model_spec(str(self._model))
        if spec.kind != "generation":
            raise ConfigurationError(f"the model {spec.name!r} makes vectors, not text", hint="choose a language model")
        return f"{spec.name}@{spec.weights.sha256[:12]}"

    def _locate_file(self) -> Path:
        path = self._explicit_path()
        if path is not None:
            return path
        folder = ensure(str(self._model), models_dir=self._models_dir, fetch=self._pull_missing)
        if folder.damaged_files():
            raise ModelNotFoundError(
                f"the file of the model {folder.spec.name!r} is damaged: its sha256 is wrong",
                hint=f"repair it with: saa pull {folder.spec.name}",
            )
        return folder.file(folder.spec.weights.name)

    def _explicit_path(self) -> Path | None:
        # None for a model of the registry.
        name = str(self._model)
        is_path = isinstance(self._model, Path) or name.endswith(".gguf") or os.sep in name
        return Path(name).expanduser() if is_path else None

    def _load(self, path: Path) -> Any:
        xllamacpp = _import_xllamacpp()
        # The server inside xllamacpp always listens. It gets a Unix socket in a private folder and a random key. The
        # folder is removed as soon as the server listens, so that no other process can connect.
        folder = Path(tempfile.mkdtemp(prefix="saa-llama-"))  # mode 0700
        try:
            params = xllamacpp.CommonParams()
            params.model.path = str(path)
            params.hostnames = [str(folder / "llama.sock")]
            params.api_keys = [secrets.token_urlsafe(32)]
            params.verbosity = -1
            params.ui = False
            params.endpoint_slots = False
            params.endpoint_metrics = True  # read in process by `busy_slots`
            params.n_threads_http = 1
            params.n_parallel = self._slots
            params.n_ctx = self._context_tokens * self._slots
            params.n_batch = params.n_ubatch = _BATCH_TOKENS
            params.n_gpu_layers = 0
            params.fit_params = False
            params.cache_ram_mib = 0
            params.warmup = False
            params.force_pure_content_parser = True  # text as generated; tool calls are not parsed out of it
            for cpu in (params.cpuparams, params.cpuparams_batch):
                cpu.n_threads = self._threads
                cpu.poll = 0  # sleep between passes: the cores are shared with embedding and search
            with _load_lock, _preserve_signal_handlers():
                server = xllamacpp.Server(params)
            server.handle_metrics()  # waits for the server's loop: a server destroyed before its loop runs never ends
        except RuntimeError as exc:
            raise GenerationError(
                f"llama.cpp cannot load the model file {str(path)!r}",
                hint="it is damaged, of an unknown architecture, or memory ran out: try fewer slots or another file",
            ) from exc
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return server

    def _plain(self, text: str) -> str:
        return break_up(text, self._control, KNOWN)


@cache
def _advise(advice: str) -> None:
    _log.warning("generation.small_model", extra={"reason": advice})


def _import_xllamacpp() -> Any:
    # Threads that spin at each of a token's 250 barriers starve one another when other work shares the cores: on 2 busy
    # cores, 24 tokens took over 45 s instead of 1 s. libgomp reads `GOMP_SPINCOUNT` once, when it is loaded.
    with _load_lock:
        is_set = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
        if not is_set:
            os.environ["GOMP_SPINCOUNT"] = "0"
        try:
            import xllamacpp
        except ImportError as exc:
            raise ConfigurationError(
                f"llama.cpp cannot be loaded: {exc}", hint="it needs the system's OpenMP runtime, libgomp.so.1"
            ) from exc
        finally:
            if not is_set:
                del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


class _EventReader:
    # Errors are stored, since llama.cpp drops exceptions of its callback.

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._prompt_tokens = self._pieces = 0
        self._new_tokens: int | None = None
        self._cut = False
        self.error: BaseException | None = None

    def usage(self) -> Usage:
        # When the caller ended the text, llama.cpp sends no total, and the number of pieces is returned instead.
        new_tokens = self._pieces if self._new_tokens is None else self._new_tokens
        _PROMPT_TOKENS.add(self._prompt_tokens)
        return Usage(prompt_tokens=self._prompt_tokens, new_tokens=new_tokens, cut=self._cut)

    def on_event(self, event: bytes) -> bool:
        # True stops the generation.
        try:
            return not self._read(orjson.loads(event))
        except BaseException as exc:
            self.error = exc
            return True

    def _read(self, event: dict[str, Any]) -> bool:
        if "error" in event or "choices" not in event:
            raise _to_error(event.get("error", event))
        choices = event["choices"]
        piece = choices[0].get("delta", {}).get("content") if choices else None
        self._count(event, piece)
        return self._emit(piece or "")

    def _count(self, event: dict[str, Any], piece: str | None) -> None:
        self._pieces += bool(piece)
        if "prompt_progress" in event:
            self._prompt_tokens = event["prompt_progress"]["total"]
        if "usage" in event:
            self._new_tokens = event["usage"]["completion_tokens"]
        for choice in event["choices"]:
            self._cut = self._cut or choice.get("finish_reason") == "length"


def _to_error(error: dict[str, Any]) -> SuperAdvancedAgentsError:
    if error.get("type") == "exceed_context_size_error":
        return InvalidInputError(
            f"the prompt has {error.get('n_prompt_tokens')} tokens; the limit is {error.get('n_ctx')} (context_tokens)",
            field="prompt",
            hint="shorten it, or open the generator with more context_tokens",
        )
    return GenerationError(f"llama.cpp failed: {error.get('message', 'no reason given')}")


def _to_refusal(error: ValueError | RuntimeError) -> SuperAdvancedAgentsError:
    # A ValueError is llama.cpp's own check of the messages; "Jinja Exception" is one that the model's template raises.
    if isinstance(error, RuntimeError) and "Jinja Exception" not in str(error):
        return GenerationError("llama.cpp failed", hint="the cause of this error has its words")
    return InvalidInputError(
        "messages: the model takes no chat with these roles in this order",
        field="messages",
        hint="let user and assistant take turns, after at most one system message, and end with the user's message",
    )


@contextlib.contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    # The handlers of llama.cpp's server would disable Ctrl-C for the whole process. Python's `signal.signal` works in
    # the main thread only, and models load in worker threads, so that this calls the C library.
    sigaction: Callable[..., int] = ctypes.CDLL(None).sigaction
    saved = {number: ctypes.create_string_buffer(512) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, action in saved.items():
        sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in saved.items():
            sigaction(int(number), action, None)
