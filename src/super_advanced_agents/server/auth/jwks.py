"""The public keys of a token issuer (a JWKS document, RFC 7517), fetched and cached."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.remote.proxies import new_client
from super_advanced_agents.errors import AuthenticationError, EngineUnavailableError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("server")

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""The accepted algorithms; all are asymmetric, so that this server cannot sign tokens."""

_ALGORITHMS_OF_KEY_TYPE = {
    ("RSA", None): frozenset({"RS256", "PS256"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_MIN_RSA_BITS = 2048
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_FETCH_TIMEOUT_S = 10.0
_WAIT_S = 2.0
_MAX_WAITING = 64
_FRESH_S = 600.0
_MAX_AGE_S = 24 * 3600.0
_UNKNOWN_KID_PAUSE_S = 60.0
_MISSING_S = 300.0
_MAX_MISSING = 1_000
_FAILED_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class _IssuerKey:
    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


class IssuerKeys:
    """Fetch a JWT issuer's public keys (JWKS) from a URL and cache them, within one event loop.

    Keys are used for ten minutes, then fetched again in the background; while that fails, the old keys are used for up
    to a day. A token with an unknown key id causes a fetch at once, but at most once a minute, and none for five
    minutes if the issuer did not publish it. Concurrent callers share one fetch, which takes 10 s at most; 64 of them
    wait for it, 2 s each. While fetches fail, the pauses between them grow from 5 s to a minute.

    Args:
        url: the URL of the JWKS document, set by the operator; redirects are not followed.

    Attributes:
        generation: the number of successful fetches.
    """

    def __init__(self, url: str) -> None:
        self.generation = 0
        self._url = url
        self._keys: tuple[_IssuerKey, ...] = ()
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._fetching: asyncio.Task[None] | None = None
        self._failures = 0  # in a row
        self._waiting = 0
        self._missing: dict[str | None, float] = {}  # key ids that the issuer did not publish, and until when

    async def akey(self, kid: str | None, algorithm: str) -> PublicKey:
        """Return the issuer's public key that fits the key id and the algorithm in a JWT's header.

        Args:
            kid: the key id in the header; None if it names none, which is enough if only one key fits.
            algorithm: the signature algorithm in the header.

        Raises:
            AuthenticationError: the issuer publishes no such key for that algorithm.
            EngineUnavailableError: the issuer's keys cannot be fetched now.
        """
        now = time.monotonic()
        age = now - self._fetched_at
        if age > _MAX_AGE_S:
            self._keys = ()
        key = self._pick(kid, algorithm)
        if key is not None:
            if age > _FRESH_S and now - self._tried_at > _UNKNOWN_KID_PAUSE_S:
                self._fetch_once()
            return key
        if self._missing.get(kid, 0.0) < now and (self._fetching is not None or now - self._tried_at > self._pause_s):
            await self._wait_for_fetch(kid)
            key = self._pick(kid, algorithm)
        if key is None and not self._keys:
            raise _unavailable_error()
        if key is None:
            raise AuthenticationError(
                "the token is signed with a key that its issuer does not publish", hint="ask the issuer for a new token"
            )
        return key

    async def aclose(self) -> None:
        """Cancel the running fetch of the issuer's public keys, if any, and wait for its end."""
        task = self._fetching
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def _pause_s(self) -> float:
        if self._keys or not self._failures:
            return _UNKNOWN_KID_PAUSE_S
        return min(_FAILED_PAUSE_S * 2.0 ** min(self._failures - 1, 8), _UNKNOWN_KID_PAUSE_S)

    async def _wait_for_fetch(self, kid: str | None) -> None:
        # The issuer may hang, and anybody can send a token, so only a few callers wait, for a short time.
        fetch = self._fetch_once()
        if self._waiting >= _MAX_WAITING:
            raise _unavailable_error()
        self._waiting += 1
        try:
            await asyncio.wait({fetch}, timeout=_WAIT_S)  # a caller that is cancelled does not cancel the shared fetch
        finally:
            self._waiting -= 1
        if not fetch.done():
            raise _unavailable_error()
        if self._failures == 0 and not any(kid in (None, key.kid) for key in self._keys):
            if len(self._missing) >= _MAX_MISSING:
                del self._missing[next(iter(self._missing))]
            self._missing[kid] = time.monotonic() + _MISSING_S

    def _pick(self, kid: str | None, algorithm: str) -> PublicKey | None:
        candidates = [key for key in self._keys if algorithm in key.algorithms and kid in (None, key.kid)]
        return candidates[0].key if len(candidates) == 1 or (candidates and kid is not None) else None

    def _fetch_once(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch the issuer's keys")
            self._fetching.add_done_callback(self._finish_fetch)
        return self._fetching

    def _finish_fetch(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("server.issuer_keys_failed", exc_info=task.exception())

    async def _fetch(self) -> None:
        try:
            keys = await _fetch_keys(self._url)
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as exc:
            self._failures += 1
            reason = str(exc) or f"not complete within {_FETCH_TIMEOUT_S:.0f} s"
            _log.warning("server.issuer_keys_not_fetched", extra={"url": self._url, "reason": reason})
            return
        self._keys, self._fetched_at, self._failures = keys, time.monotonic(), 0
        self.generation += 1


async def _fetch_keys(url: str) -> tuple[_IssuerKey, ...]:
    body = bytearray()
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    # Made in a thread, because it reads the certificates of all authorities.
    client = await in_thread(lambda: new_client(httpx2.AsyncClient, url, timeout=_FETCH_TIMEOUT_S), name="jwks")
    async with asyncio.timeout(_FETCH_TIMEOUT_S), client, client.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        async for chunk in response.aiter_raw(chunk_size=16 * 1024):
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError(f"longer than {_MAX_BYTES} bytes")
    return await in_thread(lambda: _keys_in(bytes(body)), name="read the issuer's keys")


def _keys_in(body: bytes) -> tuple[_IssuerKey, ...]:
    document = json.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JWKS document")  # noqa: TRY004  # the document is wrong, not an argument's type
    keys = tuple(_signing_keys(entries[:_MAX_KEYS]))
    if not keys:
        raise ValueError("no usable key in it")
    return keys


def _unavailable_error() -> EngineUnavailableError:
    return EngineUnavailableError(
        "the issuer's keys cannot be fetched now, so tokens cannot be checked",
        hint="try again; the server's log says why",
    )


def _signing_keys(entries: list[Any]) -> Iterator[_IssuerKey]:
    # Entries that cannot verify a signature (for encryption, of other key types, damaged or private) are skipped.
    for entry in entries:
        if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
            continue
        kid, algorithm = entry.get("kid"), entry.get("alg")
        kty, crv = entry.get("kty"), entry.get("crv")
        algorithms = _ALGORITHMS_OF_KEY_TYPE.get((kty, crv), frozenset()) if isinstance(kty, str) else frozenset()
        if algorithm is not None:
            algorithms &= {algorithm}
        if not algorithms or not isinstance(kid, str | None):
            continue
        try:
            key = jwt.PyJWK(entry, min(algorithms)).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
            continue
        if isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
            yield _IssuerKey(kid, algorithms, key)
