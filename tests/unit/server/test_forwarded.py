"""The address of a caller is what trusted proxies say, and what nobody else says."""

from __future__ import annotations

import pytest

from super_advanced_agents.server.forwarded import ForwardedCallers, TrustedProxies

PROXIES = TrustedProxies(["127.0.0.1", "10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["198.51.100.1", "203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["no address"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, <script>, 10.0.0.2"], "10.0.0.2"),
        ("unix:", ["198.51.100.1"], "unix:"),
    ],
)
def test_caller_is_the_rightmost_address_that_is_no_proxys(peer, forwarded, caller):
    """What stands to the left of it was sent by the caller, who may say anything."""
    assert PROXIES.caller(peer, forwarded) == caller


def test_long_header_is_read_at_its_end_only():
    """A caller may send 64 KiB of addresses."""
    assert PROXIES.caller("127.0.0.1", [",".join(["10.0.0.1"] * 5_000)]) == "10.0.0.1"
    assert PROXIES.caller("127.0.0.1", [",".join(["1.1.1.1"] * 5_000 + ["203.0.113.7"])]) == "203.0.113.7"


@pytest.mark.parametrize(
    ("client", "expected"), [("127.0.0.1", ("203.0.113.7", "https")), ("192.0.2.1", ("192.0.2.1", "http"))]
)
async def test_middleware_changes_address_and_scheme_for_trusted_proxies_only(client, expected):
    """The scheme matters to addresses that an answer names."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["client"][0], scope["scheme"]))

    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (client, 4711), "scheme": "http", "headers": headers}
    await ForwardedCallers(app, proxies=PROXIES)(scope, None, None)
    assert seen == [expected]
