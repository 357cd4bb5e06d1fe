"""An embedding engine that calls a server with OpenAI's `/v1/embeddings` API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from super_advanced_agents._runtime.remote.openai_server import (
    access_error,
    checked_base_url,
    may_pass,
    open_client,
    said_by,
)
from super_advanced_agents._runtime.remote.proxies import proxy_variable
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    import openai
    from openai.types import CreateEmbeddingResponse

_MAX_RETRIES = 2

_log = get_logger("embeddings")


class OpenAIEngine(EmbeddingEngine):
    """Embed texts by an OpenAI-compatible server (vLLM, llama-server, Ollama).

    Redirects are refused, so that the key is sent only to `base_url`. Without `api_key` no key is sent: keys in the
    environment are ignored. A proxy of the environment is used, but never for loopback.

    Args:
        model: the server's name of the model.
        base_url: the API's URL with its path, such as `"http://127.0.0.1:8080/v1"`.
        api_key: the bearer token to send.
        timeout_s: the time limit of one request.
        dim: the length of the vectors, if known; otherwise the first response sets it.

    Raises:
        ConfigurationError: `base_url` is not an http(s) URL or contains credentials, or `timeout_s` is not positive.
    """

    workers = 4  # requests in flight: enough to hide the network's latency, few enough for a small server
    batch_texts = 64
    batch_tokens = 8192

    def __init__(
        self, model: str, *, base_url: str, api_key: str | None = None, timeout_s: float = 30.0, dim: int | None = None
    ) -> None:
        checked_base_url(base_url)
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
        """An id made of the server's name for the model, without a digest of the weights.

        The API does not report one.
        """
        return f"{self._model}:openai"

    @property
    def dim(self) -> int | None:
        """The number of dimensions of the vectors; None until the first response unless given."""
        return self._dim

    @property
    def max_tokens(self) -> None:
        """Always None: the API does not report the number of tokens to which a text is truncated."""
        return None

    def open(self) -> None:
        """Create the HTTP client, which connects at the first request."""
        if self._client is None:
            import httpx2

            self._client = open_client(
                self._base_url,
                api_key=self._api_key,
                timeout=httpx2.Timeout(self._timeout_s),
                max_retries=_MAX_RETRIES,
            )

    def run(self, texts: Sequence[str]) -> Matrix:
        """Request the vectors of `texts` from the server, and return them scaled to unit length.

        Returns:
            (n, dim) float32, one L2-normalised row per text, in order.

        Raises:
            InvalidInputError: status 400 or 422: the server refused a text.
            ModelNotFoundError: status 404.
            RateLimitedError: status 429, after two retries.
            EmbeddingError: the server cannot be reached, failed, refused the key, or sent an unusable response.
        """
        assert self._client is not None
        with self.translated_errors(texts):
            response = self._client.embeddings.create(model=self._model, input=list(texts), encoding_format="float")
        matrix = self.to_matrix(response, len(texts), self._dim)
        self._dim = matrix.shape[1]
        return matrix

    def close(self) -> None:
        """Close the connections to the server."""
        if self._client is not None:
            self._client.close()

    def to_matrix(self, response: CreateEmbeddingResponse, n: int, dim: int | None) -> Matrix:
        """Return the vectors of a response to a request with `n` texts, in order, as unit vectors.

        Raises:
            EmbeddingError: they are not `n` vectors, or have another length than `dim`.
        """
        try:
            rows = {item.index: item.embedding for item in response.data}
            matrix = np.array([rows[i] for i in range(n)], np.float32)
        except (TypeError, ValueError, KeyError, AttributeError) as exc:
            raise EmbeddingError(f"{self._base_url!r} did not return one embedding per text") from exc
        if matrix.ndim != 2 or matrix.shape[1] == 0 or len(response.data) != n:
            raise EmbeddingError(f"{self._base_url!r} did not return one embedding per text")
        if dim is not None and matrix.shape[1] != dim:
            raise EmbeddingError(f"{self._base_url!r} returned vectors of {matrix.shape[1]} numbers instead of {dim}")
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms)) or not np.all(norms):
            raise EmbeddingError(f"{self._base_url!r} returned a zero or non-finite vector")
        unit: Matrix = matrix / norms
        return unit

    @contextmanager
    def translated_errors(self, texts: Sequence[str]) -> Iterator[None]:
        """Enter a context that maps the client's errors to those of `run`."""
        import openai

        server = f"the embedding server {self._base_url!r}"
        try:
            yield
        except openai.APITimeoutError as exc:
            raise EmbeddingError(f"{server} did not answer within {self._timeout_s} s", retryable=True) from exc
        except openai.APIConnectionError as exc:
            proxy = proxy_variable(self._base_url)
            through = "" if proxy is None else f", and the proxy in {proxy}"
            raise EmbeddingError(
                f"{server} cannot be reached", hint=f"check that it runs{through}", retryable=True
            ) from exc
        except openai.APIStatusError as exc:
            error = self._status_error(exc, server)
            error.said = said_by(exc, hidden=[self._api_key, *texts])
            # A server's caller gets the error without these words, and its operator may see nothing of it elsewhere.
            _log.warning("embeddings.server_refused", extra={"model_id": self.model_id, "reason": str(error)})
            raise error from exc
        except (openai.OpenAIError, ValueError) as exc:
            raise EmbeddingError(f"{server} sent a response that is not a list of embeddings") from exc

    def _status_error(self, exc: openai.APIStatusError, server: str) -> SuperAdvancedAgentsError:
        refused = access_error(exc, server, self._model, error=EmbeddingError, use="embed with")
        if refused is not None:
            return refused
        status = exc.status_code
        if status in {400, 422}:
            return InvalidInputError(f"{server} refused a text with status {status}", field="text")
        return EmbeddingError(f"{server} answered with status {status}", retryable=may_pass(status))
