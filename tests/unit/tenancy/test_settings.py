"""Settings come from arguments and environment variables, and wrong ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.configuration.values import is_loopback
from super_advanced_agents.tenancy.settings import Settings


def test_arguments_override_the_environment_and_that_the_defaults(monkeypatch):
    """An argument that is None counts as not given."""
    monkeypatch.setenv("SAA_PORT", "9000")
    monkeypatch.setenv("SAA_DATA_DIR", "elsewhere")
    settings = Settings.load(port=None, data_dir=Path("here"))
    assert (settings.port, settings.data_dir, settings.host) == (9000, Path("here"), "127.0.0.1")
    assert settings.store_dir == Path("here/store")


def test_empty_environment_variable_leaves_the_default(monkeypatch):
    """`SAA_PORT= saa serve` uses the default."""
    monkeypatch.setenv("SAA_PORT", "")
    assert Settings.load().port == 8000


@pytest.mark.parametrize(
    ("name", "value"), [("port", 70_000), ("agent", "no\nname"), ("embedding_precision", "int4"), ("log_level", "LOUD")]
)
def test_wrong_setting_is_refused_with_its_environment_variable(name, value):
    """The variable is where most people set it."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(**{name: value})
    assert f"SAA_{name.upper()}" in str(caught.value)


def test_repr_of_settings_hides_api_keys(monkeypatch):
    """A repr may end up in a log."""
    monkeypatch.setenv("SAA_GENERATION_API_KEY", "very-secret")
    assert "very-secret" not in repr(Settings.load())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_recognized(host):
    """IPv4, IPv6 and `localhost` count."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", ""])
def test_reachable_addresses_are_not_loopback(host):
    """A host name does not count either, since it may resolve to any address."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jwt_jwks_url": "https://issuer.example/keys"}, "jwt_issuer"),
        ({"jwt_jwks_url": "http://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"}, "https://"),
        ({"jwt_jwks_url": "file:///etc/keys", "jwt_issuer": "i", "jwt_audience": "a"}, "https://"),
        ({"allowed_origins": ["app.example.org"]}, "origin"),
        ({"allowed_origins": ["https://app.example.org/page"]}, "origin"),
    ],
)
def test_insecure_jwt_and_origin_settings_are_refused(given, message):
    """Tokens for any service, keys fetched in the clear, and origins that match nothing are insecure."""
    with pytest.raises(ConfigurationError, match=message):
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
def test_list_setting_is_read_from_commas_and_from_json(monkeypatch, name, text):
    """Both forms of the variable give the same setting."""
    scheme = "https://" if name == "allowed_origins" else ""
    monkeypatch.setenv(f"SAA_{name.upper()}", text.replace("https://", scheme))
    assert getattr(Settings.load(), name) == (f"{scheme}a.example", f"{scheme}b.example")


def test_malformed_json_list_is_refused_with_its_variable(monkeypatch):
    """The value begins as JSON and does not end as JSON."""
    monkeypatch.setenv("SAA_ALLOWED_HOSTS", '["a.example"')
    with pytest.raises(ConfigurationError, match="SAA_ALLOWED_HOSTS"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted_proxies", ("proxy.example.org",)),
        ("trusted_proxies", ("*",)),
        ("trusted_proxies", ("0.0.0.0/0",)),
        ("allowed_hosts", ("https://memory.example.org",)),
        ("allowed_hosts", ("memory.example.org:8443",)),
        ("allowed_hosts", ("*.example.org",)),
        ("allowed_hosts", ("fd00::1",)),
        ("traces_endpoint", "collector:4318"),
        ("traces_endpoint", "nowhere"),
        ("root_path", "saa"),
        ("root_path", "/a b"),
        ("root_path", "/../x"),
    ],
)
def test_hosts_proxies_addresses_and_paths_that_cannot_be_meant_are_refused(name, value):
    """Whoever trusts all addresses lets callers choose theirs; a host with a port would refuse all requests."""
    with pytest.raises(ConfigurationError, match=name):
        Settings.load(**{name: value})


def test_proxies_are_addresses_and_networks_and_a_path_loses_its_last_slash(monkeypatch):
    """As they stand in an environment variable."""
    monkeypatch.setenv("SAA_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,::1")
    monkeypatch.setenv("SAA_ROOT_PATH", "/saa/")
    settings = Settings.load()
    assert settings.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "::1")
    assert settings.root_path == "/saa"


@pytest.mark.parametrize("queues", ["default", "default=", "default=8;bulk=1", "default=x", "a b=1", "default=0"])
def test_queues_of_another_form_are_refused_with_an_example(monkeypatch, queues):
    """The message is not that of a parser of numbers."""
    monkeypatch.setenv("SAA_JOB_QUEUES", queues)
    with pytest.raises(ConfigurationError, match=r"is wrong: queues must be names with a number .* 'default=8,bulk=1'"):
        Settings.load()
