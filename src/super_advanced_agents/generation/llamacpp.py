"""llama.cpp inside this process, through `xllamacpp`: concurrent calls share each pass over the weights."""

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
from super_advanced_agents.generation.gguf import read_header
from super_advanced_agents.models import ensure, model_spec
from super_advanced_agents.types import ChatMessage

_BYTES_PER_TOKEN = 64
"""No text worth generating from has longer tokens on average; what is longer is refused before it is tokenised."""

_BATCH_TOKENS = 128
"""Tokens in one pass: a long prompt holds up other callers, and its own cancelling, for this many (about a second)."""

_loading = threading.Lock()
"""llama.cpp keeps its log level and its signal handlers in globals."""


class LlamaCppEngine(GenerationEngine):
    """A GGUF model on llama.cpp with continuous batching.

    Args:
        model: a registry name, or the path of a .gguf file.
        models_dir: where pulled models live; the default folder when None.
        pull_missing: fetch a known model when it is not there; else `open` raises `ModelNotFoundError`.
        slots: generations side by side.
        context_tokens: prompt and new tokens of one generation together.
        threads: cores used while generating; all that this process may use when None.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        models_dir: str | Path | None = None,
        pull_missing: bool = True,
        slots: int = 8,
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
        """The model's name and the digest of its weights (registry) or of its header (a file of yours)."""
        if self._model_id is None:
            self._model_id = self._named()
        return self._model_id

    @property
    def max_prompt_bytes(self) -> int:
        """A bound far above what fits the context, so that a huge text is refused without tokenising it."""
        return self._context_tokens * _BYTES_PER_TOKEN

    def open(self) -> None:
        """Fetch the file where it is missing, check it, then load it.

        xllamacpp 2026.10 holds the GIL while it loads (0.5 s for 92 MB): load before serving.

        Raises:
            ModelNotFoundError: the file is missing or damaged; a pulled model's sha256 is compared first.
            GenerationError: llama.cpp refused it.
        """
        self._model_id, path = self._named(), self._checked_file()
        header = read_header(path)
        if header.control_tokens:
            self._control = re.compile("|".join(map(re.escape, sorted(header.control_tokens, key=len, reverse=True))))
        if header.context_tokens and self._context_tokens > header.context_tokens:
            raise ConfigurationError(
                f"context_tokens is {self._context_tokens}, "
                f"but the model {self._model_id!r} was trained for {header.context_tokens}"
            )
        self._server = self._load(path)

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage:
        """As the base says; `emit` is also called, with an empty piece, for each batch of a long prompt."""
        request = {
            "messages": [{"role": message.role, "content": self._plain(message.content)} for message in messages],
            "max_tokens": options.max_length,
            "stop": list(options.stop),
            "temperature": options.temperature,
            "stream": True,
            "return_progress": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": False,  # what another request left in a slot must not change this one's rounding
        }
        if options.seed is not None:
            request["seed"] = options.seed
        answer = _Answer(emit)
        self._server.handle_chat_completions(orjson.dumps(request), answer.on_event)
        if answer.error is not None:
            raise answer.error
        return answer.usage()

    def busy_slots(self) -> int:
        """How many slots work now, as llama.cpp itself counts them."""
        metrics = self._server.handle_metrics()
        found = re.search(r"^llamacpp:requests_processing (\d+)", metrics, re.MULTILINE)
        return int(found[1]) if found else 0

    def close(self) -> None:
        """Stop llama.cpp's threads and free the model."""
        self._server = None

    def _named(self) -> str:
        path = self._own_file()
        if path is not None:
            return f"{path.stem}@{read_header(path).digest[:12]}"
        spec = model_spec(str(self._model))
        if spec.kind != "generation":
            raise ConfigurationError(f"the model {spec.name!r} makes vectors, not text", hint="choose a language model")
        return f"{spec.name}@{spec.weights.sha256[:12]}"

    def _checked_file(self) -> Path:
        path = self._own_file()
        if path is not None:
            return path
        folder = ensure(str(self._model), models_dir=self._models_dir, fetch=self._pull_missing)
        if folder.damaged_files():
            raise ModelNotFoundError(
                f"the file of the model {folder.spec.name!r} is damaged: its sha256 is wrong",
                hint=f"repair it with: saa pull {folder.spec.name}",
            )
        return folder.file(folder.spec.weights.name)

    def _own_file(self) -> Path | None:
        """The file that was named by its path; None for a model of the registry."""
        name = str(self._model)
        own = isinstance(self._model, Path) or name.endswith(".gguf") or os.sep in name
        return Path(name).expanduser() if own else None

    def _load(self, path: Path) -> Any:
        xllamacpp = _imported()
        # The server inside xllamacpp always listens. It gets a socket in a folder of our own, with a key nobody has,
        # and the socket's name is removed as soon as it listens: nothing is left to connect to.
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
            with _loading, _signals_kept():
                server = xllamacpp.Server(params)
            server.handle_metrics()  # a server destroyed before its loop runs never ends; this waits for the loop
        except RuntimeError as exc:
            raise GenerationError(
                f"llama.cpp cannot load the model file {str(path)!r}",
                hint="it is damaged, of an unknown architecture, or memory ran out: try fewer slots or another file",
            ) from exc
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return server

    def _plain(self, text: str) -> str:
        """Break up control tokens, so that a text can never end its turn and speak as the system."""
        if self._control is None:
            return text
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _imported() -> Any:
    """Import xllamacpp with an OpenMP runtime that does not spin.

    Threads that spin at each of a token's 250 barriers starve one another whenever the cores are shared: with other
    work on 2 cores, 24 tokens took over 45 s instead of 1 s. libgomp reads this variable once, when it is loaded.
    """
    with _loading:
        own = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
        if not own:
            os.environ["GOMP_SPINCOUNT"] = "0"
        try:
            import xllamacpp
        except ImportError as exc:
            raise ConfigurationError(
                f"llama.cpp cannot be loaded: {exc}", hint="it needs the system's OpenMP runtime, libgomp.so.1"
            ) from exc
        finally:
            if not own:
                del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


class _Answer:
    """Reads the events of one generation; llama.cpp drops exceptions of its callback, so they are kept here."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._prompt_tokens = self._pieces = 0
        self._new_tokens: int | None = None
        self._cut = False
        self.error: BaseException | None = None

    def usage(self) -> Usage:
        """What was counted; where the caller ended the text, llama.cpp sends no sum, and the pieces are counted."""
        new_tokens = self._pieces if self._new_tokens is None else self._new_tokens
        return Usage(prompt_tokens=self._prompt_tokens, new_tokens=new_tokens, cut=self._cut)

    def on_event(self, event: bytes) -> bool:
        """Return True to stop the generation."""
        try:
            return not self._read(orjson.loads(event))
        except BaseException as exc:
            self.error = exc
            return True

    def _read(self, event: dict[str, Any]) -> bool:
        if "error" in event or "choices" not in event:
            raise _translated(event.get("error", event))
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


def _translated(error: dict[str, Any]) -> SuperAdvancedAgentsError:
    if error.get("type") == "exceed_context_size_error":
        return InvalidInputError(
            f"the prompt has {error.get('n_prompt_tokens')} tokens; the limit is {error.get('n_ctx')} (context_tokens)",
            field="prompt",
            hint="shorten it, or open the generator with more context_tokens",
        )
    return GenerationError(f"llama.cpp failed: {error.get('message', 'no reason given')}")


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo that llama.cpp's server takes over SIGINT and SIGTERM, which would end Ctrl-C for the whole process.

    Python's `signal.signal` works in the main thread only, and models load in worker threads: hence the C library.
    """
    sigaction: Callable[..., int] = ctypes.CDLL(None).sigaction
    saved = {number: ctypes.create_string_buffer(512) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, action in saved.items():
        sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in saved.items():
            sigaction(int(number), action, None)
