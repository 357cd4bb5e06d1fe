"""Authentication of REST, gRPC and MCP requests by API key or JWT."""

from __future__ import annotations

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.errors import AuthenticationError, ResourceClosedError
from super_advanced_agents.server.auth.api_keys import APIKeyVerifier
from super_advanced_agents.server.auth.jwt import TokenVerifier
from super_advanced_agents.server.auth.key_source import keys_of
from super_advanced_agents.tenancy.context import ANYBODY, Principal
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.shared_state import SharedState

_HINT = "send an API key as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'; `saa keys create` makes one"


class Authenticator(Resource):
    """Authenticate requests by API key, or by JWT if the settings name a token issuer.

    Args:
        settings: the switch for authentication, the folder of the keys, and the issuer of tokens.
        state: the database of the keys, if servers share them.

    Attributes:
        keys: the verifier of API keys; None without authentication.
    """

    def __init__(self, settings: Settings, state: SharedState | None = None) -> None:
        super().__init__()
        self.keys = APIKeyVerifier(keys_of(settings, state)) if settings.auth else None
        self._tokens = _verifier(settings) if settings.auth else None
        self._opened = False

    async def aopen(self) -> None:
        """Read the API keys into memory. A JWT issuer's public keys are fetched when the first token arrives.

        Raises:
            ConfigurationError: the keys were created with another secret.
            StoreError: the keys cannot be read.
        """
        self._check_open()
        if self.keys is not None:
            await self.keys.aopen()
        self._opened = True

    async def authenticate(self, *, authorization: str | None, api_key: str | None) -> Principal:
        """Verify a request's API key or JWT; return the caller's tenant, scopes and key id.

        A known API key is verified without I/O; a token may wait for its issuer's public keys.

        Args:
            authorization: the `Authorization` header or metadata; None if there is none.
            api_key: the `X-API-Key` header or metadata; None if there is none.

        Returns:
            The principal; `ANYBODY` without authentication.

        Raises:
            AuthenticationError: there is no credential, there are two different ones, or it is not valid; the message
                does not repeat the credential.
            EngineUnavailableError: the issuer's public keys cannot be fetched now.
        """
        if self.keys is None:
            return ANYBODY
        if not self._opened:
            raise ResourceClosedError("the keys are not open", hint="await aopen() first")
        credential = _credential(authorization, api_key)
        if self._tokens is not None and not credential.startswith("saa_"):
            return await self._tokens.averify(credential)
        return await self.keys.aprincipal_of(credential)

    async def aclose(self) -> None:
        """Close the API key database, and cancel a running fetch of the JWT issuer's public keys."""
        if self._tokens is not None:
            await self._tokens.aclose()
        await super().aclose()

    def _release(self) -> None:
        if self.keys is not None:
            self.keys.close()


def _credential(authorization: str | None, api_key: str | None) -> str:
    if authorization is None:
        if not api_key:
            raise AuthenticationError("no credential was sent", hint=_HINT)
        credential = api_key
    else:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise AuthenticationError("the Authorization header is not of the form 'Bearer KEY'", hint=_HINT)
        if api_key is not None and api_key != credential:
            raise AuthenticationError("two different credentials were sent", hint="send one of them")
    if not credential.isascii():
        raise AuthenticationError("the credential is not valid", hint=_HINT)
    return credential


def _verifier(settings: Settings) -> TokenVerifier | None:
    if settings.jwt_jwks_url is None:
        return None
    from super_advanced_agents.server.auth.jwks import IssuerKeys

    assert settings.jwt_issuer is not None
    assert settings.jwt_audience is not None
    return TokenVerifier(
        IssuerKeys(settings.jwt_jwks_url),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        tenant_claim=settings.jwt_tenant_claim,
        scopes_claim=settings.jwt_scopes_claim,
    )
