"""Verification of JWTs (RFC 7519), whose claims give the caller's tenant and scopes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from super_advanced_agents.config import checked_name
from super_advanced_agents.errors import AuthenticationError, InvalidInputError
from super_advanced_agents.server.auth.jwks import ALGORITHMS, IssuerKeys
from super_advanced_agents.tenancy.context import Access, Principal

_LEEWAY_S = 10.0
_MAX_CHARS = 8 * 1024
_MAX_CACHED = 10_000
_NOT_VALID = "the token is not valid"
_MESSAGES: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is from another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks one of the claims exp, iss, aud"),
)


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    expires_at: int
    generation: int


class TokenVerifier:
    """Verify JWTs with their issuer's public keys, and cache the results of valid ones.

    Args:
        keys: the public keys of the issuer.
        issuer: the required value of `iss`.
        audience: the value that `aud` must equal or contain.
        tenant_claim: the claim that names the tenant.
        scopes_claim: the claim with the scopes, as a list or separated by spaces; unknown scopes are ignored.
    """

    def __init__(
        self, keys: IssuerKeys, *, issuer: str, audience: str, tenant_claim: str = "tenant", scopes_claim: str = "scope"
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._tenant_claim = tenant_claim
        self._scopes_claim = scopes_claim
        self._verified: dict[bytes, _Verified] = {}

    async def averify(self, token: str) -> Principal:
        """Verify a JWT, and return the principal (tenant, scopes, key id) that its claims give.

        Raises:
            AuthenticationError: the token is not valid; the message does not repeat it.
            EngineUnavailableError: the issuer's keys cannot be fetched now.
        """
        if len(token) > _MAX_CHARS:
            raise AuthenticationError(
                f"the token is longer than {_MAX_CHARS} characters", hint="ask the issuer for one with fewer claims"
            )
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        if verified is not None and time.time() < verified.expires_at and verified.generation == self._keys.generation:
            return verified.principal
        self._verified.pop(digest, None)
        claims = await self._claims(token)
        principal = self._principal(claims)
        if len(self._verified) >= _MAX_CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = _Verified(principal, int(claims["exp"]), self._keys.generation)
        return principal

    async def aclose(self) -> None:
        """Cancel the running fetch of the JWT issuer's public keys, if any."""
        await self._keys.aclose()

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
        except Exception:  # a parser may raise anything on a malformed token
            raise AuthenticationError(_NOT_VALID) from None  # the cause would contain the token
        if algorithm not in ALGORITHMS or not isinstance(kid, str | None):
            raise AuthenticationError(
                "the token is signed in a way that is not accepted", hint=f"use one of {', '.join(sorted(ALGORITHMS))}"
            )
        key = await self._keys.akey(kid, algorithm)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except Exception as exc:
            message = next((text for error, text in _MESSAGES if isinstance(exc, error)), _NOT_VALID)
            raise AuthenticationError(message) from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        scopes_value = claims.get(self._scopes_claim, "")
        try:
            tenant = checked_name(claims.get(self._tenant_claim, ""), "tenant")
        except InvalidInputError:
            raise AuthenticationError(
                f"the token's claim {self._tenant_claim!r} names no tenant", hint="ask the issuer for one that does"
            ) from None
        if isinstance(scopes_value, str):
            names: list[Any] = scopes_value.split()
        else:
            names = scopes_value if isinstance(scopes_value, list) else []
        scopes = frozenset(scope for scope in Access if scope.value in names)
        # A subject may be an e-mail address, so logs and rate limits use its hash.
        subject = hashlib.sha256(f"{self._issuer}\0{tenant}\0{claims.get('sub', '')}".encode()).hexdigest()
        return Principal(tenant=tenant, scopes=scopes, key_id=f"jwt-{subject[:16]}")
