"""An engine on the other side of HTTP: any server with the OpenAI shape of `/v1/embeddings`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    ModelNotFoundError,
    RateLimitedError,
)
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    import httpx2
    import openai
    from openai.types import CreateEmbeddingResponse

_SENT_HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
_MAX_RETRIES = 2
_DEFAULT_RETRY_AFTER_S = 1.0


class OpenAIEngine(EmbeddingEngine):
    """vLLM, llama-server, Ollama, OpenAI and others, through the `openai` client.

    Redirects are refused, so that the key goes nowhere but to `base_url`; without a key none is sent, not even one from
    the environment.

    Args:
        model: the server's name of the model.
        base_url: with its path, such as `"http://127.0.0.1:8080/v1"`.
        api_key: sent as a bearer token.
        timeout_s: for one request.
        dim: the length of the vectors, if known; else the first answer tells.
    """

    workers = 4  # requests in flight: enough to hide the network's latency, few enough for a small server
    batch_texts = 64
    batch_tokens = 8192

    def __init__(
        self, model: str, *, base_url: str, api_key: str | None = None, timeout_s: float = 30.0, dim: int | None = None
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"base_url {parts.geturl()!r} is not an http or https address")
        if parts.username or parts.password:
            raise ConfigurationError("base_url holds a user name or a password", hint="give the key as api_key")
        if not timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be positive, not {timeout_s!r}")
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._dim = dim
        self._client: openai.OpenAI | None = None

    @property
    def model_id(self) -> str:
        return f"{self._model}:openai"

    @property
    def dim(self) -> int | None:
        return self._dim

    @property
    def max_tokens(self) -> None:
        return None

    def open(self) -> None:
        if self._client is None:
            import httpx2
            import openai

            self._client = openai.OpenAI(
                base_url=self._base_url,
                api_key=self._api_key or "none",  # the client insists on one; `_only_ours` decides what is sent
                max_retries=_MAX_RETRIES,
                http_client=httpx2.Client(
                    follow_redirects=False, timeout=self._timeout_s, event_hooks={"request": [self._only_ours]}
                ),
            )

    def run(self, texts: Sequence[str]) -> Matrix:
        assert self._client is not None
        with self._translated():
            answer = self._client.embeddings.create(model=self._model, input=list(texts), encoding_format="float")
        matrix = self._matrix(answer, len(texts))
        self._dim = matrix.shape[1]
        return matrix

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _only_ours(self, request: httpx2.Request) -> None:
        """Drop what the client adds from the environment: other keys, an organisation, headers of any name."""
        for name in set(request.headers) - _SENT_HEADERS:
            del request.headers[name]
        if self._api_key is not None:
            request.headers["authorization"] = f"Bearer {self._api_key}"

    def _matrix(self, answer: CreateEmbeddingResponse, n: int) -> Matrix:
        """Order the answer by index and refuse what cannot be vectors of these texts."""
        try:
            rows = {each.index: each.embedding for each in answer.data}
            matrix = np.array([rows[i] for i in range(n)], np.float32)
        except (TypeError, ValueError, KeyError, AttributeError) as exc:
            raise EmbeddingError(f"{self._base_url!r} gave no embedding for each text") from exc
        if matrix.ndim != 2 or matrix.shape[1] == 0 or len(answer.data) != n:
            raise EmbeddingError(f"{self._base_url!r} gave no embedding for each text")
        if self._dim is not None and matrix.shape[1] != self._dim:
            raise EmbeddingError(f"{self._base_url!r} gave vectors of {matrix.shape[1]} numbers instead of {self._dim}")
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms)) or not np.all(norms):
            raise EmbeddingError(f"{self._base_url!r} gave a vector without a direction")
        unit: Matrix = matrix / norms
        return unit

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import openai

        where = f"the embedding server {self._base_url!r}"
        try:
            yield
        except openai.APITimeoutError as exc:
            raise EmbeddingError(f"{where} did not answer within {self._timeout_s} s") from exc
        except openai.APIConnectionError as exc:
            raise EmbeddingError(f"{where} cannot be reached", hint="check that it runs") from exc
        except openai.AuthenticationError as exc:
            # Our key was refused, not our caller's: of an AuthenticationError a server would tell its own caller so.
            raise EmbeddingError(f"{where} refused the key it was sent", hint="check base_url and its api_key") from exc
        except openai.PermissionDeniedError as exc:
            raise EmbeddingError(
                f"{where} does not allow the key it was sent to embed with {self._model!r}",
                hint="check model, and what the api_key of base_url may do",
            ) from exc
        except openai.NotFoundError as exc:
            raise ModelNotFoundError(f"{where} has no model {self._model!r}", hint="check model and base_url") from exc
        except openai.RateLimitError as exc:
            retry_after_s = _retry_after_s(exc.response.headers.get("retry-after"))
            raise RateLimitedError(f"{where} has too many requests", retry_after_s=retry_after_s) from exc
        except (openai.BadRequestError, openai.UnprocessableEntityError) as exc:
            raise InvalidInputError(f"{where} refused a text with status {exc.status_code}", field="text") from exc
        except openai.APIStatusError as exc:
            raise EmbeddingError(f"{where} answered with status {exc.status_code}") from exc
        except (openai.OpenAIError, ValueError) as exc:
            raise EmbeddingError(f"{where} gave an answer that is no list of embeddings") from exc


def _retry_after_s(header: str | None) -> float:
    try:
        seconds = float(header or "")
    except ValueError:  # absent, or a date
        return _DEFAULT_RETRY_AFTER_S
    return seconds if math.isfinite(seconds) and seconds >= 0 else _DEFAULT_RETRY_AFTER_S
