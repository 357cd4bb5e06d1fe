"""Test the verification of an issuer's tokens against keys that a real HTTP server publishes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from super_advanced_agents.errors import AuthenticationError, EngineUnavailableError
from super_advanced_agents.server.auth import jwks
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.jwks import IssuerKeys
from super_advanced_agents.server.auth.jwt import TokenVerifier
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings

ISSUER, AUDIENCE = "https://issuer.example", "super-advanced-agents"
FRESH_S, MAX_AGE_S = 600, 24 * 3600
"""How long keys are used before they are fetched again, and how long while fetches fail."""

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
LATER = ed25519.Ed25519PrivateKey.generate()


def _jwk(algorithm, key, kid, **more):
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **more}


class Issuer:
    """Publish keys on a loopback socket, and count the requests for them."""

    def __init__(self):
        self.keys = [
            _jwk(RSAAlgorithm, RSA, "rsa"),
            _jwk(RSAAlgorithm, RSA, "only-ps", alg="PS256"),
            _jwk(RSAAlgorithm, RSA, "for-encryption", use="enc"),
            _jwk(RSAAlgorithm, SHORT_RSA, "short"),
            _jwk(ECAlgorithm, EC, "ec"),
            _jwk(OKPAlgorithm, ED, "ed"),
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
            {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "!", "y": "!"},
            "not a key",
        ]
        self.body = None
        self.status = 200
        self.requests = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.requests += 1
                issuer.may_answer.wait(30)
                self.send_response(issuer.status)
                self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(issuer.body or json.dumps({"keys": issuer.keys}).encode())

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer():
    server = Issuer()
    yield server
    server.close()


@pytest.fixture
async def verifier(issuer):
    """Make a verifier of the issuer's tokens."""
    token_verifier = TokenVerifier(IssuerKeys(issuer.url), issuer=ISSUER, audience=AUDIENCE)
    yield token_verifier
    await token_verifier.aclose()


class Clock:
    """Stand for the module `time` as `jwks` uses it, so that a test can let time pass there."""

    def __init__(self):
        self._advanced_s = 0.0

    def advance(self, seconds):
        self._advanced_s += seconds

    def monotonic(self):
        return time.monotonic() + self._advanced_s


@pytest.fixture
def clock(monkeypatch):
    """Give the cache of the issuer's keys a clock of its own; the event loop keeps the real one."""
    replaced = Clock()
    monkeypatch.setattr(jwks, "time", replaced)
    return replaced


async def end_of_background_fetch():
    """Wait for the end of the fetch of the issuer's keys that runs now."""
    [fetch] = [task for task in asyncio.all_tasks() if task.get_name() == "fetch the issuer's keys"]
    await fetch


def token(key=ED, algorithm="EdDSA", kid="ed", headers=None, **claims):
    """Return a token that is valid unless arguments change it; a claim of None is left out."""
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": time.time() + 300,
        "sub": "somebody@example.org",
        "tenant": "acme",
        "scope": "openid memories:read generate",
        **claims,
    }
    claims = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid, **(headers or {})} if kid else headers)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS256", "only-ps"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
async def test_token_gives_its_tenant_and_scopes_with_every_accepted_algorithm(verifier, key, algorithm, kid):
    """Scopes of other services are ignored, and the id of the key does not show the subject."""
    principal = await verifier.averify(token(key, algorithm, kid))
    assert (principal.tenant, principal.scopes) == ("acme", {Access.READ, Access.GENERATE})
    assert "somebody" not in principal.key_id


async def test_token_scopes_may_be_a_list_under_configured_claim_names(issuer):
    """Issuers write these claims differently."""
    verifier = TokenVerifier(
        IssuerKeys(issuer.url), issuer=ISSUER, audience=AUDIENCE, tenant_claim="org", scopes_claim="permissions"
    )
    principal = await verifier.averify(token(org="globex", permissions=["admin", 5], aud=["other", AUDIENCE]))
    assert (principal.tenant, principal.scopes) == ("globex", {Access.ADMIN})


def _unsigned():
    return token(None, "none", "ed")


def _signed_with_the_public_key_as_secret():
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jwt.utils import base64url_encode

    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = ".".join(
        base64url_encode(json.dumps(part).encode()).decode()
        for part in (
            {"alg": "HS256", "kid": "rsa"},
            {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 300, "tenant": "acme", "scope": "admin"},
        )
    )
    return f"{signing_input}.{base64url_encode(hmac.digest(public, signing_input.encode(), hashlib.sha256)).decode()}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: token(exp=time.time() - 60), "expired"),
        (lambda: token(exp=None), "lacks one of the claims"),
        (lambda: token(exp="soon"), "not valid"),
        (lambda: token(nbf=time.time() + 60), "not valid yet"),
        (lambda: token(iss="https://other.example"), "another issuer"),
        (lambda: token(iss=None), "lacks one"),
        (lambda: token(aud="other"), "another audience"),
        (lambda: token(aud=None), "lacks one"),
        (lambda: token(tenant=None), "names no tenant"),
        (lambda: token(tenant="../etc"), "names no tenant"),
        (lambda: token(tenant=["acme"]), "names no tenant"),
        (lambda: token(LATER), "not valid"),
        (lambda: token(EC, "ES256", "ed"), "does not publish"),
        (lambda: token(RSA, "RS256", "only-ps"), "does not publish"),
        (lambda: token(RSA, "RS256", "for-encryption"), "does not publish"),
        (lambda: token(SHORT_RSA, "RS256", "short"), "does not publish"),
        (lambda: token("c" * 40, "HS256", "shared"), "not accepted"),
        (_unsigned, "not accepted"),
        (_signed_with_the_public_key_as_secret, "not accepted"),
        (lambda: token() + "x" * 9_000, "longer than"),
        (lambda: "a.b.c", "not valid"),
        (lambda: "saa", "not valid"),
        (lambda: "W1tb" * 1_500 + "." + "e30." + "AAAA", "not valid"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
async def test_invalid_token_is_refused_without_repeating_it(verifier, make, message):
    """The error has no cause, because a cause would contain the token."""
    invalid = make()
    with pytest.raises(AuthenticationError, match=message) as caught:
        await verifier.averify(invalid)
    assert invalid not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_verified_token_is_cached_until_it_expires(verifier, issuer, monkeypatch):
    """All tokens share one fetch of the issuer's keys."""
    cached_token = token(exp=time.time() + 60)
    principal = await verifier.averify(cached_token)
    assert await verifier.averify(cached_token) is principal
    await verifier.averify(token(tenant="globex"))
    assert issuer.requests == 1
    later = time.time() + 61  # of the cache's clock; the library that verifies tokens reads another one
    monkeypatch.setattr(time, "time", lambda: later)
    assert await verifier.averify(cached_token) is not principal


async def test_full_cache_of_verified_tokens_evicts_the_oldest(verifier, monkeypatch):
    """The bound limits the memory of a server that sees many tokens."""
    from super_advanced_agents.server.auth import jwt as tokens

    monkeypatch.setattr(tokens, "_MAX_CACHED", 3)  # filling the cache of 10,000 tokens takes too long
    encoded = [token(sub=str(n)) for n in range(5)]
    first_results = [await verifier.averify(each) for each in encoded]
    # The cached ones are looked up first, because a token that is verified again evicts another one.
    cached = {n: await verifier.averify(encoded[n]) is first_results[n] for n in (4, 3, 2, 1, 0)}
    assert cached == {4: True, 3: True, 2: True, 1: False, 0: False}


async def test_unknown_key_ids_cause_one_shared_fetch_a_minute(verifier, issuer, clock):
    """A new key of the issuer is found, and invented key ids do not flood the issuer."""
    await verifier.averify(token())
    for n in range(20):
        with pytest.raises(AuthenticationError, match="does not publish"):
            await verifier.averify(token(LATER, kid=f"invented{n}"))
    assert issuer.requests == 1
    issuer.keys.append(_jwk(OKPAlgorithm, LATER, "later"))
    clock.advance(61)
    issuer.may_answer.clear()
    verifications = [asyncio.create_task(verifier.averify(token(LATER, kid="later", sub=str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    verifications[0].cancel()
    issuer.may_answer.set()
    outcomes = await asyncio.gather(*verifications, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert {principal.tenant for principal in outcomes[1:]} == {"acme"}
    assert issuer.requests == 2


async def test_token_of_a_withdrawn_issuer_key_is_refused_after_the_next_fetch(verifier, issuer, clock):
    """Cached tokens are refused too; old keys are used while the fetch runs in the background."""
    good = token()
    await verifier.averify(good)
    issuer.keys = [each for each in issuer.keys if not (isinstance(each, dict) and each.get("kid") == "ed")]
    clock.advance(FRESH_S + 1)
    await verifier.averify(token(RSA, "RS256", "rsa"))  # begins a fetch and does not wait for it
    await end_of_background_fetch()
    assert issuer.requests == 2
    with pytest.raises(AuthenticationError, match="does not publish"):
        await verifier.averify(good)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (302, None),
        (200, b"{"),
        (200, b"[]"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": "' + b"x" * 300_000),
    ],
    ids=["failing", "redirecting", "not JSON", "not JWKS", "empty", "too long"],
)
async def test_token_check_is_unavailable_while_issuer_keys_cannot_be_fetched(verifier, issuer, clock, status, body):
    """Redirects are not followed, and a document is not read beyond its longest length."""
    issuer.status, issuer.body = status, body
    for _ in range(3):
        with pytest.raises(EngineUnavailableError):
            await verifier.averify(token())
    assert issuer.requests == 1
    issuer.status, issuer.body = 200, None
    clock.advance(6)
    await verifier.averify(token())


async def test_issuer_keys_are_used_for_a_day_while_fetches_fail(verifier, issuer, clock):
    """An issuer that is down for some hours does not lock callers out."""
    await verifier.averify(token())
    issuer.status = 500
    for elapsed_s, usable in ((FRESH_S + 1, True), (MAX_AGE_S, False)):
        clock.advance(elapsed_s)
        verification = verifier.averify(token(sub=str(elapsed_s)))
        if usable:
            await verification
            await end_of_background_fetch()
        else:
            with pytest.raises(EngineUnavailableError):
                await verification


async def test_token_without_key_id_is_accepted_if_only_one_key_fits(verifier, issuer):
    """Among several keys of its algorithm, the right one is unknown."""
    with pytest.raises(AuthenticationError):
        await verifier.averify(token(RSA, "PS256", None))
    assert (await verifier.averify(token(kid=None))).tenant == "acme"


async def test_authenticator_accepts_tokens_and_api_keys_together(issuer, tmp_path):
    """Each credential gives its own tenant."""
    settings = Settings.load(
        data_dir=tmp_path / "data", jwt_jwks_url=issuer.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE
    )
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        key = (await authenticator.keys.acreate_first(tenant="default", scopes=["admin"], label="")).key
        assert (await authenticator.authenticate(authorization=f"Bearer {token()}", api_key=None)).tenant == "acme"
        assert (await authenticator.authenticate(authorization=None, api_key=key)).tenant == "default"
        assert issuer.requests == 1


async def test_callers_wait_briefly_and_in_bounded_number_while_the_issuer_hangs(verifier, issuer, monkeypatch):
    """They learn that the token cannot be checked; all of them share one fetch."""
    monkeypatch.setattr(jwks, "_WAIT_S", 0.05)  # of two seconds
    issuer.may_answer.clear()
    verifications = [asyncio.create_task(verifier.averify(token(sub=str(n)))) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(task.done() for task in verifications) == 100 - 64
    outcomes = await asyncio.gather(*verifications, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {EngineUnavailableError}
    assert issuer.requests <= 1
    issuer.may_answer.set()
    await end_of_background_fetch()
    await verifier.averify(token())


async def test_issuer_that_sends_its_keys_too_slowly_is_given_up(verifier, issuer, monkeypatch):
    """The time limit holds for the whole fetch."""
    monkeypatch.setattr(jwks, "_FETCH_TIMEOUT_S", 0.05)  # of ten seconds
    issuer.may_answer.clear()
    with pytest.raises(EngineUnavailableError):
        await verifier.averify(token())
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "fetch the issuer's keys"]
    issuer.may_answer.set()


async def test_key_id_that_the_issuer_does_not_publish_causes_no_second_fetch(verifier, issuer, clock):
    """It is remembered for five minutes, until the issuer may have published it."""
    await verifier.averify(token())
    for requests, elapsed_s in ((2, 61), (2, 120), (3, 300)):
        clock.advance(elapsed_s)
        with pytest.raises(AuthenticationError, match="does not publish"):
            await verifier.averify(token(LATER, kid="invented"))
        assert issuer.requests == requests


async def test_pauses_between_failing_fetches_grow_to_a_minute(verifier, issuer, clock):
    """A token after the pause tries again."""
    issuer.status = 500
    for requests, elapsed_s in enumerate((0, 6, 11, 21, 41, 61), start=1):
        clock.advance(elapsed_s)
        for _ in range(2):
            with pytest.raises(EngineUnavailableError):
                await verifier.averify(token())
        assert issuer.requests == requests
