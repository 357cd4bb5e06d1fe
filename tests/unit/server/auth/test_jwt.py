"""Tokens of an issuer, checked against keys that a real server publishes."""

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
from super_advanced_agents.server.auth import jwks as issuer_keys
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.jwks import IssuerKeys
from super_advanced_agents.server.auth.jwt import TokenVerifier
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings

ISSUER, AUDIENCE = "https://issuer.example", "super-advanced-agents"

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
LATER = ed25519.Ed25519PrivateKey.generate()


def _published(algorithm, key, kid, **more):
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **more}


class Issuer:
    """Publishes keys on a loopback socket, and counts who asks."""

    def __init__(self):
        self.keys = [
            _published(RSAAlgorithm, RSA, "rsa"),
            _published(RSAAlgorithm, RSA, "only-ps", alg="PS256"),
            _published(RSAAlgorithm, RSA, "for-encryption", use="enc"),
            _published(RSAAlgorithm, SHORT_RSA, "short"),
            _published(ECAlgorithm, EC, "ec"),
            _published(OKPAlgorithm, ED, "ed"),
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
            {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "!", "y": "!"},
            "not a key",
        ]
        self.body = None
        self.status = 200
        self.asked = 0
        self.services = threading.Event()
        self.services.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                issuer.services.wait(30)
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
    made = Issuer()
    yield made
    made.close()


@pytest.fixture
async def verifier(issuer):
    made = TokenVerifier(IssuerKeys(issuer.url), issuer=ISSUER, audience=AUDIENCE)
    yield made
    await made.aclose()


def token(key=ED, algorithm="EdDSA", kid="ed", headers=None, **claims):
    """A token that is valid unless told otherwise; a claim of None is left out."""
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": time.time() + 300,
        "sub": "somebody@example.org",
        "tenant": "acme",
        "scope": "openid memories:read generate",
        **claims,
    }
    named = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(named, key, algorithm, headers={"kid": kid, **(headers or {})} if kid else headers)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS256", "only-ps"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
async def test_a_token_opens_its_tenant_with_its_scopes(verifier, key, algorithm, kid):
    """With every algorithm that is accepted; scopes of other services are passed over, and the subject is not shown."""
    principal = await verifier.averify(token(key, algorithm, kid))
    assert (principal.tenant, principal.scopes) == ("acme", {Access.READ, Access.GENERATE})
    assert "somebody" not in principal.key_id


async def test_scopes_may_be_a_list_and_the_claims_may_have_other_names(issuer):
    """As each issuer likes it."""
    verifier = TokenVerifier(
        IssuerKeys(issuer.url), issuer=ISSUER, audience=AUDIENCE, tenant_claim="org", scopes_claim="permissions"
    )
    principal = await verifier.averify(token(org="globex", permissions=["admin", 5], aud=["other", AUDIENCE]))
    assert (principal.tenant, principal.scopes) == ("globex", {Access.ADMIN})


def _unsigned():
    return token(None, "none", "ed")


def _signed_with_a_public_key():
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jwt.utils import base64url_encode

    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = ".".join(
        base64url_encode(json.dumps(part).encode()).decode()
        for part in (
            {"alg": "HS256", "kid": "rsa"},
            {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 300, "tenant": "acme", "scope": "admin"},
        )
    )
    return f"{said}.{base64url_encode(hmac.digest(public, said.encode(), hashlib.sha256)).decode()}"


@pytest.mark.parametrize(
    ("make", "told"),
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
        (_signed_with_a_public_key, "not accepted"),
        (lambda: token() + "x" * 9_000, "longer than"),
        (lambda: "a.b.c", "not valid"),
        (lambda: "saa", "not valid"),
        (lambda: "W1tb" * 1_500 + "." + "e30." + "AAAA", "not valid"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
async def test_a_token_that_is_wrong_in_any_way_is_refused(verifier, make, told):
    """And not repeated in what is told."""
    wrong = make()
    with pytest.raises(AuthenticationError, match=told) as caught:
        await verifier.averify(wrong)
    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_token_is_checked_once_and_remembered_until_it_expires(verifier, issuer, monkeypatch):
    """The keys are fetched once for all."""
    first = token(exp=time.time() + 60)
    principal = await verifier.averify(first)
    assert await verifier.averify(first) is principal
    await verifier.averify(token(tenant="globex"))
    assert issuer.asked == 1
    later = time.time() + 61  # of our clock: the library that checks a token anew has its own
    monkeypatch.setattr(time, "time", lambda: later)
    assert await verifier.averify(first) is not principal


async def test_what_is_remembered_is_bounded(verifier, monkeypatch):
    """The oldest goes."""
    from super_advanced_agents.server.auth import jwt as tokens

    monkeypatch.setattr(tokens, "_MAX_CACHED", 3)
    for n in range(5):
        await verifier.averify(token(sub=str(n)))
    assert len(verifier._verified) == 3


async def test_unknown_keys_are_asked_for_once_a_minute_and_by_one_for_all(verifier, issuer, monkeypatch):
    """A new key of the issuer is found, and a flood of invented ones is no flood for the issuer."""
    await verifier.averify(token())
    for n in range(20):
        with pytest.raises(AuthenticationError, match="does not publish"):
            await verifier.averify(token(LATER, kid=f"invented{n}"))
    assert issuer.asked == 1
    issuer.keys.append(_published(OKPAlgorithm, LATER, "later"))
    verifier._keys._tried_at -= 61
    issuer.services.clear()
    asking = [asyncio.create_task(verifier.averify(token(LATER, kid="later", sub=str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    issuer.services.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.tenant for answer in answers[1:]} == {"acme"}
    assert issuer.asked == 2


async def test_a_key_that_the_issuer_took_back_counts_no_more(verifier, issuer):
    """Also for tokens that were remembered; until then an old set is used while a new one is fetched."""
    good = token()
    await verifier.averify(good)
    issuer.keys = [each for each in issuer.keys if not (isinstance(each, dict) and each.get("kid") == "ed")]
    verifier._keys._fetched_at -= issuer_keys._FRESH_S + 1
    verifier._keys._tried_at -= issuer_keys._FRESH_S + 1
    await verifier.averify(token(RSA, "RS256", "rsa"))  # begins to fetch, and does not wait
    await verifier._keys._fetching
    assert issuer.asked == 2
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
async def test_an_issuer_that_cannot_be_asked_is_our_trouble_not_the_callers(verifier, issuer, status, body):
    """503, to be tried again; redirects are not followed, and no more is read than a document can be long."""
    issuer.status, issuer.body = status, body
    for _ in range(3):
        with pytest.raises(EngineUnavailableError):
            await verifier.averify(token())
    assert issuer.asked == 1
    issuer.status, issuer.body = 200, None
    verifier._keys._tried_at -= 6
    await verifier.averify(token())


async def test_a_set_of_keys_outlives_an_issuer_that_is_away(verifier, issuer):
    """For a day."""
    await verifier.averify(token())
    issuer.status = 500
    for age, known in ((issuer_keys._FRESH_S + 1, True), (issuer_keys._MAX_AGE_S, False)):
        verifier._keys._fetched_at -= age
        verifier._keys._tried_at -= age
        asked = verifier.averify(token(sub=str(age)))
        if known:
            await asked
            await verifier._keys._fetching
        else:
            with pytest.raises(EngineUnavailableError):
                await asked


async def test_a_token_without_a_key_id_is_checked_when_there_is_only_one_key(verifier, issuer):
    """Otherwise nobody knows which."""
    with pytest.raises(AuthenticationError):
        await verifier.averify(token(RSA, "PS256", None))
    assert (await verifier.averify(token(kid=None))).tenant == "acme"


async def test_a_server_takes_tokens_and_keys_side_by_side(issuer, tmp_path):
    """By the settings alone; each says its own tenant."""
    settings = Settings.load(
        data_dir=tmp_path / "data", jwt_jwks_url=issuer.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE
    )
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        key = (await authenticator.keys.acreate_first(tenant="default", scopes=["admin"], label="")).key
        assert (await authenticator.authenticate(authorization=f"Bearer {token()}", api_key=None)).tenant == "acme"
        assert (await authenticator.authenticate(authorization=None, api_key=key)).tenant == "default"
        assert issuer.asked == 1
