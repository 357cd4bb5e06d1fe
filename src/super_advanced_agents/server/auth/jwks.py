"""The public keys of a token issuer (a JWKS document): fetched off the event loop, kept, and fetched again."""

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

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.errors import AuthenticationError, EngineUnavailableError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("server")

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""Asymmetric ones only: a server that checks tokens cannot make them."""

_FITTING = {
    ("RSA", None): frozenset({"RS256", "PS256"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_MIN_RSA_BITS = 2048
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_STEP_S, _WHOLE_S = 5.0, 10.0
_FRESH_S = 600.0
_KEPT_S = 24 * 3600.0
_UNKNOWN_KID_PAUSE_S = 60.0
_FAILED_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class _IssuerKey:
    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


class IssuerKeys:
    """The keys at one URL. Everything runs in one event loop.

    A set is used for ten minutes, then fetched again in the background; while that fails, the old one serves for a
    day. A token that names an unknown key fetches at once, but at most once a minute, and callers share one fetch.

    Args:
        url: the operator's own setting; redirects are not followed.

    Attributes:
        generation: grows with each set that was fetched.
    """

    def __init__(self, url: str) -> None:
        self.generation = 0
        self._url = url
        self._keys: tuple[_IssuerKey, ...] = ()
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._fetching: asyncio.Task[None] | None = None

    async def akey(self, kid: str | None, algorithm: str) -> PublicKey:
        """The key that a token's header names.

        Raises:
            AuthenticationError: the issuer has no such key for that algorithm.
            EngineUnavailableError: the issuer's keys cannot be had now.
        """
        now = time.monotonic()
        age = now - self._fetched_at
        if age > _KEPT_S:
            self._keys = ()
        found = self._pick(kid, algorithm)
        if found is not None:
            if age > _FRESH_S and now - self._tried_at > _UNKNOWN_KID_PAUSE_S:
                self._fetch_once()
            return found
        pause_s = _UNKNOWN_KID_PAUSE_S if self._keys else _FAILED_PAUSE_S
        if self._fetching is not None or now - self._tried_at > pause_s:
            await asyncio.shield(self._fetch_once())  # one caller that leaves does not stop it for the others
            found = self._pick(kid, algorithm)
        if found is None and not self._keys:
            raise EngineUnavailableError(
                "the issuer's keys cannot be fetched now, so tokens cannot be checked",
                hint="try again; the server's log says why",
            )
        if found is None:
            raise AuthenticationError("the token is signed with a key that its issuer does not publish")
        return found

    async def aclose(self) -> None:
        """Stop a fetch that is under way."""
        task = self._fetching
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _pick(self, kid: str | None, algorithm: str) -> PublicKey | None:
        fitting = [each for each in self._keys if algorithm in each.algorithms and kid in (None, each.kid)]
        return fitting[0].key if len(fitting) == 1 or (fitting and kid is not None) else None

    def _fetch_once(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch the issuer's keys")
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("server.issuer_keys_failed", exc_info=task.exception())

    async def _fetch(self) -> None:
        try:
            keys = await in_thread(lambda: _fetched(self._url), name="fetch the issuer's keys")
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as exc:
            _log.warning("server.issuer_keys_not_fetched", extra={"url": self._url, "reason": str(exc)})
            return
        self._keys, self._fetched_at = keys, time.monotonic()
        self.generation += 1


def _fetched(url: str) -> tuple[_IssuerKey, ...]:
    body = bytearray()
    until = time.monotonic() + _WHOLE_S
    with (
        httpx2.Client(timeout=_STEP_S, follow_redirects=False) as client,
        client.stream("GET", url, headers={"accept": "application/json", "accept-encoding": "identity"}) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        for chunk in response.iter_raw(chunk_size=16 * 1024):
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError(f"longer than {_MAX_BYTES} bytes")
            if time.monotonic() > until:
                raise ValueError(f"not there within {_WHOLE_S:.0f} s")
    document = json.loads(body)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWKS document")  # noqa: TRY004  # it is the document that is wrong
    keys = tuple(_usable(listed[:_MAX_KEYS]))
    if not keys:
        raise ValueError("no usable key in it")
    return keys


def _usable(listed: list[Any]) -> Iterator[_IssuerKey]:
    """Those that can check a signature; others (for encryption, of other kinds, damaged, private) are passed over."""
    for described in listed:
        if not isinstance(described, dict) or "d" in described or described.get("use", "sig") != "sig":
            continue
        kid, named = described.get("kid"), described.get("alg")
        kind = described.get("kty")
        fitting = _FITTING.get((kind, described.get("crv")), frozenset()) if isinstance(kind, str) else frozenset()
        if named is not None:
            fitting &= {named}
        if not fitting or not isinstance(kid, str | None):
            continue
        try:
            key = jwt.PyJWK(described, min(fitting)).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
            continue
        if isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
            yield _IssuerKey(kid, fitting, key)
