"""Tokens of an issuer (JWT): whose they are, once their signature and every claim has been checked."""

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
_MAX_REMEMBERED = 10_000
_NOT_VALID = "the token is not valid"
_TOLD: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks one of the claims exp, iss, aud"),
)


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    until: int
    generation: int


class TokenVerifier:
    """Checks tokens against the issuer's published keys, and remembers those it has checked until they expire.

    Args:
        keys: the issuer's.
        issuer: what `iss` must say.
        audience: what `aud` must say or hold.
        tenant_claim: the claim that names the tenant.
        scopes_claim: the claim with the scopes, as a list or separated by spaces; those not of this server are ignored.
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
        """Whose token it is.

        Raises:
            AuthenticationError: it is not valid; the message does not repeat it.
            EngineUnavailableError: the issuer's keys cannot be had now.
        """
        if len(token) > _MAX_CHARS:
            raise AuthenticationError(f"the token is longer than {_MAX_CHARS} characters")
        name = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(name)
        if verified is not None and time.time() < verified.until and verified.generation == self._keys.generation:
            return verified.principal
        self._verified.pop(name, None)
        claims = await self._claims(token)
        principal = self._principal(claims)
        if len(self._verified) >= _MAX_REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[name] = _Verified(principal, int(claims["exp"]), self._keys.generation)
        return principal

    async def aclose(self) -> None:
        """Stop what is under way."""
        await self._keys.aclose()

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
        except Exception:  # a parser at work on whatever was sent
            raise AuthenticationError(_NOT_VALID) from None  # the cause would carry the token
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
            told = next((words for kind, words in _TOLD if isinstance(exc, kind)), _NOT_VALID)
            raise AuthenticationError(told) from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        listed = claims.get(self._scopes_claim, "")
        try:
            tenant = checked_name(claims.get(self._tenant_claim, ""), "tenant")
        except InvalidInputError:
            raise AuthenticationError(f"the token's claim {self._tenant_claim!r} names no tenant") from None
        names = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else []
        scopes = frozenset(each for each in Access if each.value in names)
        # A subject can be somebody's address: what stands in logs and counts in limits is its hash.
        whose = hashlib.sha256(f"{self._issuer}\0{tenant}\0{claims.get('sub', '')}".encode()).hexdigest()
        return Principal(tenant=tenant, scopes=scopes, key_id=f"jwt-{whose[:16]}")
