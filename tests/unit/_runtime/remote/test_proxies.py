"""HTTP clients reach loopback directly, and say what is wrong with the proxy of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx2
import pytest

from super_advanced_agents._runtime.remote.proxies import is_this_machine, new_client, proxy_variable
from super_advanced_agents.errors import ConfigurationError

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without proxies, whatever the environment of the tests has."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def port() -> Iterator[int]:
    """Run a server on loopback that answers 204."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "LOCALHOST.", "a.localhost", "0.0.0.0"]
)
def test_every_name_of_loopback_is_this_machine(host: str) -> None:
    """Names are not looked up."""
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example", "2001:db8::1", ""])
def test_other_hosts_are_not_this_machine(host: str) -> None:
    """A private network is another machine as well."""
    assert not is_this_machine(host)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5h://127.0.0.1:1", "nonsense://x"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, port: int, variable: str, proxy: str, host: str
) -> None:
    """Not even a proxy that cannot be used is in the way."""
    monkeypatch.setenv(variable, proxy)
    url = f"http://{host}:{port}"
    with new_client(httpx2.Client, url) as client:
        assert client.get(url).status_code == 204


@pytest.mark.parametrize(
    ("proxy", "words"),
    [("socks5h://10.0.0.1:1", "SOCKS"), ("socks5://u:hidden@10.0.0.1:1", "SOCKS"), ("ftp://u:hidden@x:1", "address")],
)
def test_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, words: str
) -> None:
    """The error names the variable and the next step."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=words) as caught:
        new_client(httpx2.Client, "http://models.example.org/v1")
    assert "ALL_PROXY" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.hint


def test_host_in_no_proxy_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host does, and its variable is named."""
    monkeypatch.setenv("ALL_PROXY", "socks5h://10.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "models.example.org")
    assert proxy_variable("http://models.example.org/v1") is None
    assert proxy_variable("http://other.example.org/v1") == "ALL_PROXY"
    new_client(httpx2.Client, "http://models.example.org/v1").close()
