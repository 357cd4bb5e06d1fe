"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.settings import Settings, is_loopback


def test_arguments_come_before_the_environment_and_that_before_the_defaults(monkeypatch):
    """None counts as not given."""
    monkeypatch.setenv("SAA_PORT", "9000")
    monkeypatch.setenv("SAA_DATA_DIR", "elsewhere")
    settings = Settings.load(port=None, data_dir=Path("here"))
    assert (settings.port, settings.data_dir, settings.host) == (9000, Path("here"), "127.0.0.1")
    assert settings.store_dir == Path("here/store")


def test_an_empty_variable_is_not_given(monkeypatch):
    """`SAA_PORT= saa serve` uses the default."""
    monkeypatch.setenv("SAA_PORT", "")
    assert Settings.load().port == 8000


@pytest.mark.parametrize(
    ("name", "value"), [("port", 70_000), ("agent", "no name!"), ("embedding_precision", "int4"), ("log_level", "LOUD")]
)
def test_a_wrong_value_is_told_with_its_variable(name, value):
    """The message says where to look."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(**{name: value})
    assert f"SAA_{name.upper()}" in str(caught.value)


def test_keys_do_not_show(monkeypatch):
    """Neither in a repr nor in an error."""
    monkeypatch.setenv("SAA_GENERATION_API_KEY", "very-secret")
    assert "very-secret" not in repr(Settings.load())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known(host):
    """Every way to say it."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", ""])
def test_an_address_that_others_can_reach_is_not_loopback(host):
    """Nor is a name: who knows where it leads."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"jwt_jwks_url": "https://issuer.example/keys"}, "jwt_issuer"),
        ({"jwt_jwks_url": "http://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"}, "https://"),
        ({"jwt_jwks_url": "file:///etc/keys", "jwt_issuer": "i", "jwt_audience": "a"}, "https://"),
        ({"allowed_origins": ["app.example.org"]}, "origin"),
        ({"allowed_origins": ["https://app.example.org/page"]}, "origin"),
    ],
)
def test_what_would_let_strangers_in_is_refused(given, told):
    """Tokens for anybody's service, keys fetched in the clear, and origins that would match nothing."""
    with pytest.raises(ConfigurationError, match=told):
        Settings.load(**given)


@pytest.mark.parametrize("name", ["allowed_hosts", "allowed_origins"])
@pytest.mark.parametrize(
    "text",
    [
        "https://a.example,https://b.example",
        " https://a.example , https://b.example,",
        '["https://a.example", "https://b.example"]',
    ],
)
def test_a_variable_with_a_list_is_read_with_commas_and_as_json(monkeypatch, name, text):
    """Both ways to write it give the same setting."""
    monkeypatch.setenv(f"SAA_{name.upper()}", text)
    assert getattr(Settings.load(), name) == ("https://a.example", "https://b.example")


def test_a_list_that_is_no_json_is_refused_in_one_sentence(monkeypatch):
    """It begins as JSON and does not end so; the message names the variable."""
    monkeypatch.setenv("SAA_ALLOWED_HOSTS", '["a.example"')
    with pytest.raises(ConfigurationError, match="SAA_ALLOWED_HOSTS"):
        Settings.load()
