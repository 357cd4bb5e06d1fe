"""Hostile requests over a real socket are refused with the wrong field's name and disturb no other caller."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

AGENT = "/v1/agents/victim"
MEMORIES = f"{AGENT}/memories"
SEARCH = f"{AGENT}/search"
COLLECTIONS = "/v1/collections"
VECTORS = f"{COLLECTIONS}/shelf"
MIB = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """A hostile request and the refusal that it must get.

    Attributes:
        name: the parametrize id.
        body: a value that is sent as JSON, or bytes that are sent as they are.
        path: the path of the request.
        wrong: the beginning of the problem's `field`, or a part of its `detail` or `title` where no field is wrong.
        status: the status of the refusal.
        method: the method of the request.
        headers: headers that replace or complete those of every request.
    """

    name: str
    body: object
    path: str = SEARCH
    wrong: str = ""
    status: int = 422
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def _deep(opening, closing, times, inside=b"1"):
    return opening * times + inside + closing * times


def _where(where, wrong="where"):
    return {"body": {"query": "x", "where": where}, "wrong": wrong}


HOSTILE = [
    # -- malformed or ambiguous JSON
    Hostile("nothing", b"", wrong="body"),
    Hostile("half an object", b'{"query": "x"', wrong="body"),
    Hostile("two values", b'{"query": "x"} {"query": "y"}', wrong="body"),
    Hostile("a list", [1, 2], wrong="body"),
    Hostile("a string", "x", wrong="body"),
    Hostile("null", b"null", wrong="body"),
    Hostile("a trailing comma", b'{"query": "x",}', wrong="body"),
    Hostile("a comment", b'{"query": "x" /* y */}', wrong="body"),
    Hostile("a key twice", b'{"query": "x", "query": "y"}', wrong="query"),
    Hostile("a key twice, deep", b'{"query": "x", "where": {"a": {"$eq": 1, "$eq": 2}}}', wrong="$eq"),
    Hostile("a key twice, spelled differently", b'{"query": "x", "qu\\u0065ry": "y"}', wrong="query"),
    Hostile("not UTF-8", b'{"query": "caf\xe9"}', wrong="body"),
    Hostile("UTF-16", '{"query": "x"}'.encode("utf-16"), wrong="body"),
    Hostile("a byte order mark", b'\xef\xbb\xbf{"query": "x"}', wrong="body"),
    Hostile("a control character", b'{"query": "\x01"}', wrong="body"),
    Hostile("100,000 lists", _deep(b"[", b"]", 100_000), wrong="body"),
    Hostile("100,000 objects", b'{"query": "x", "where": ' + _deep(b'{"a":', b"}", 100_000) + b"}", wrong="body"),
    Hostile("500 objects", b'{"query": "x", "where": ' + _deep(b'{"a":', b"}", 500) + b"}", wrong="body"),
    Hostile("500 lists", b'{"text": "x", "extra": {"a": ' + _deep(b"[", b"]", 500) + b"}}", MEMORIES, "body"),
    Hostile("an opening without end", b"[" * MIB, wrong="body"),
    # -- numbers
    Hostile("NaN", b'{"query": "x", "top_k": NaN}', wrong="body"),
    Hostile("Infinity", b'{"text": "x", "expires_in_s": -Infinity}', MEMORIES, "body"),
    Hostile("1e999", b'{"text": "x", "expires_in_s": 1e999}', MEMORIES, "expires_in_s"),
    Hostile("1e999 in metadata", b'{"text": "x", "extra": {"n": 1e999}}', MEMORIES, "extra"),
    Hostile("10,000 digits", b'{"query": "x", "top_k": ' + b"9" * 10_000 + b"}", wrong="body"),
    Hostile("400 digits", b'{"query": "x", "top_k": ' + b"9" * 400 + b"}", wrong="top_k"),
    Hostile("a huge top_k", {"query": "x", "top_k": 2**31}, wrong="top_k"),
    Hostile("a negative top_k", {"query": "x", "top_k": -1}, wrong="top_k"),
    Hostile("top_k in a string", {"query": "x", "top_k": "5"}, wrong="top_k"),
    Hostile("top_k as truth", {"query": "x", "top_k": True}, wrong="top_k"),
    Hostile("a huge weight", {"query": "x", "weights": {"vector": 1e300}}, wrong="weights.vector"),
    Hostile("weights of nothing", {"query": "x", "weights": {"vector": 0, "keyword": 0}}, wrong="weights"),
    Hostile("a priority beyond all", b'{"text": "x", "priority": 1e999}', MEMORIES, "priority"),
    # -- texts
    Hostile("a NUL", {"text": "x\0y"}, MEMORIES, "text"),
    Hostile("a lone surrogate", b'{"text": "\\ud800"}', MEMORIES, "text"),
    Hostile("a lone surrogate as a key", b'{"query": "x", "\\ud800": 1}', wrong="body"),
    Hostile("a lone surrogate in metadata", b'{"text": "x", "extra": {"\\udfff": 1}}', MEMORIES, "extra"),
    Hostile("a text of 70,000 bytes", {"text": "x" * 70_000}, MEMORIES, "text"),
    Hostile("a question of 70,000 bytes", {"query": "x" * 70_000}, wrong="query"),
    Hostile("blank", {"query": " \t\n"}, wrong="query"),
    Hostile("a uid of 10,000", {"text": "x", "uid": "u" * 10_000}, MEMORIES, "uid"),
    Hostile("a uid with a line end", {"text": "x", "uid": "a\r\nSet-Cookie: b"}, MEMORIES, "uid"),
    Hostile("a source of 10,000", {"text": "x", "source": "s" * 10_000}, MEMORIES, "source"),
    Hostile("metadata of 20,000", {"text": "x", "extra": {"a": "b" * 20_000}}, MEMORIES, "extra"),
    Hostile("5,000 memories", {"memories": [{"text": "x"}] * 5_000}, MEMORIES, "memories"),
    Hostile("another tenant's memory", {"text": "x", "tenant": "other"}, MEMORIES, "tenant"),
    Hostile("another namespace", {"query": "x", "namespace": "other"}, wrong="namespace"),
    # -- filters
    Hostile("SQL as a key", **_where({"a') OR 1=1 --": {"$1=1": 1}}, "a') OR 1=1 --")),
    Hostile("a lone surrogate as a filter's key", b'{"query": "x", "where": {"\\ud800": 1}}', wrong="where"),
    Hostile("a made-up field of records", **_where({"$tenant": "other"})),
    Hostile("a date as a time", **_where({"$created_at": "2026-03-01"}, "$created_at")),
    Hostile("a made-up operator", **_where({"a": {"$function": "return 1"}}, "a")),
    Hostile("an expression", **_where({"$where": "this.a == 1"})),
    Hostile("65 terms", **_where({"$or": [{"a": n} for n in range(65)]}, "")),
    Hostile("100 levels of or", **_where(json.loads(_deep(b'{"$or": [', b"]}", 100, b'{"a": 1}')), "")),
    Hostile("a filter that is a string", {"query": "x", "where": "1=1"}, wrong="where"),
    Hostile("forgetting without a choice", {}, f"{MEMORIES}:forget", ""),
    # -- names and paths
    Hostile("an escape in a name of an agent", {"query": "x"}, "/v1/agents/%1B[2J%2F/search", "agent"),
    Hostile("a line end in a name", {"query": "x"}, "/v1/agents/a%0d%0aX/search", "agent"),
    Hostile("a NUL in a name", {"query": "x"}, "/v1/agents/a%00/search", "agent"),
    Hostile("a long name", {"query": "x"}, f"/v1/agents/{'a' * 5_000}/search", "agent"),
    Hostile("NUL after slashes in a name", {"query": "x"}, "/v1/agents/..%2F..%2Fetc%00/search", "agent"),
    Hostile("up in a path", {"query": "x"}, "/v1/agents/../../etc/passwd", "Not Found", 404),
    Hostile("a collection up", {"name": "../../etc", "dim": 3}, COLLECTIONS, "name"),
    Hostile("a collection of all", {"name": "big", "dim": 10**9}, COLLECTIONS, "dim"),
    Hostile("an escaping namespace", {"description": "", "namespace": "\x1b[2J"}, AGENT, "namespace", method="PUT"),
    # -- vectors
    Hostile("an endless vector", b'{"query_vector": [1e999, 0, 0]}', f"{VECTORS}/search", "query_vector"),
    Hostile("a vector of nothing", {"query_vector": [0, 0, 0]}, f"{VECTORS}/search", "query_vector"),
    Hostile("a vector too long", {"query_vector": [1.0] * 70_000}, f"{VECTORS}/search", "query_vector"),
    Hostile("a vector that is no base64", {"query_vector": "%%%"}, f"{VECTORS}/search", "query_vector"),
    # -- HTTP
    Hostile("a gzip bomb", gzip.compress(b" " * (64 * MIB)), wrong="Content-Encoding", status=415,
            headers={"Content-Encoding": "gzip"}),
    Hostile("a deflate bomb", zlib.compress(b" " * (64 * MIB)), wrong="Content-Encoding", status=415,
            headers={"Content-Encoding": "deflate"}),
    Hostile("9 MiB", b" " * (9 * MIB), wrong="", status=413),
    Hostile("a body without a type", b'{"query": "x"}', wrong="Content-Type", status=415, headers={"Content-Type": ""}),
    Hostile("a form", b"query=x", wrong="Content-Type", status=415,
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
    Hostile("a foreign host", {"query": "x"}, wrong="Host", status=421, headers={"Host": "evil.example"}),
    Hostile("a foreign page", {"query": "x"}, wrong="Origin", status=403, headers={"Origin": "https://evil.example"}),
    Hostile("another method", {"query": "x"}, wrong="Method Not Allowed", status=405, method="PUT"),
]  # fmt: skip


class _RawConnection:
    """Opens connections to a server and writes requests to them byte by byte."""

    def __init__(self, client):
        self.address = urlsplit(str(client.base_url))
        self.credential = client.headers.get("Authorization", "")

    def send(self, content, *, last=False):
        """Send bytes and read the answer: (status, head, body); the status is 0 when the connection is cut.

        With `last` the sending side is closed, so a server that waits for more of the request gets none.
        """
        received = b""
        with socket.create_connection((self.address.hostname, self.address.port), timeout=20) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
                connection.sendall(content)
            with suppress(OSError):
                if last:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while chunk := connection.recv(65_536):
                    received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        return (int(head.split()[1]) if head else 0), head, body

    def send_hostile(self, hostile):
        """Send a hostile request and read the answer."""
        body = hostile.body if isinstance(hostile.body, bytes) else json.dumps(hostile.body).encode()
        headers = {
            "Host": f"{self.address.hostname}:{self.address.port}",
            "Authorization": self.credential,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **hostile.headers,
        }
        lines = [f"{hostile.method} {hostile.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items() if v), "", ""]
        return self.send("\r\n".join(lines).encode() + body)

    def send_head(self, *lines, body=b""):
        """Send a request with these lines as its head and read the answer."""
        head = [*lines, f"Authorization: {self.credential}", "Content-Type: application/json", "", ""]
        return self.send("\r\n".join(head).encode("latin-1") + body, last=True)

    @property
    def host(self):
        return f"Host: {self.address.hostname}:{self.address.port}"


@pytest.fixture(scope="module")
def client(server_client):
    """Return a client of a server that holds data of another agent and a collection."""
    server_client.post("/v1/agents/neighbour/memories", json={"text": "The Louvre is a museum"}).raise_for_status()
    server_client.post(COLLECTIONS, json={"name": "shelf", "dim": 3}).raise_for_status()
    return server_client


@pytest.fixture(scope="module")
def server_client(tmp_path_factory):
    """Yield a client of a server for this module."""
    from tests.integration.conftest import Machine

    with Machine(tmp_path_factory.mktemp("hostile") / "data").server() as client:
        yield client


def _assert_unharmed(client):
    """Check that the other agent's data is found, and that nothing hostile was stored."""
    answer = client.post("/v1/agents/neighbour/search", json={"query": "museum"})
    assert answer.status_code == 200
    assert [found["text"] for found in answer.json()["results"]] == ["The Louvre is a museum"]
    assert client.get(f"{MEMORIES}:count").json() == {"count": 0}
    assert [agent["name"] for agent in client.get("/v1/agents").json()["agents"]] == ["neighbour"]
    assert [each["name"] for each in client.get(COLLECTIONS).json()["collections"]] == ["shelf"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_hostile_request_is_refused_and_changes_nothing(client, hostile):
    """The problem document is short and names what is wrong; the other agent's search goes on."""
    status, head, body = _RawConnection(client).send_hostile(hostile)
    assert status == hostile.status, body[:500]
    assert b"application/problem+json" in head.lower()
    assert b"evil" not in head
    problem = json.loads(body)
    assert len(body) < 4_000
    if hostile.wrong and status == 422:
        assert problem["field"].startswith(hostile.wrong), problem
    elif hostile.wrong:
        assert hostile.wrong in problem["detail"] + problem["title"], problem
    _assert_unharmed(client)


def test_request_with_a_contradictory_head_is_refused(client):
    """The answer is 4xx or a closed connection; such heads could smuggle a second request."""
    connection = _RawConnection(client)
    search = f"POST {SEARCH} HTTP/1.1"
    body = b'{"query": "x"}'
    both = "Transfer-Encoding: chunked"
    for lines, content in (
        ((search, connection.host, "Content-Length: -5"), body),
        ((search, connection.host, "Content-Length: 5", "Content-Length: 14"), body),
        ((search, connection.host, "Content-Length: 0x0e"), body),
        ((search, connection.host, "Content-Length: 99999999999999999999"), body),
        ((search, connection.host, "Content-Length: 14", both), b"0\r\n\r\n"),
        ((search, connection.host, "Transfer-Encoding: gzip"), body),
        ((search, connection.host, both), b"zz\r\n" + body),
        ((search, connection.host, both), b"ffffffffffffffffff\r\n" + body),
        ((search, connection.host, "Host: evil.example", "Content-Length: 14"), body),
        ((search, "Content-Length: 14", "Connection: close"), body),
        ((search, connection.host, " folded: header", "Content-Length: 14"), body),
        ((search, connection.host, "na me: x", "Content-Length: 14"), body),
        ((f"POST {SEARCH}\0 HTTP/1.1", connection.host, "Content-Length: 14"), body),
        ((search, connection.host, "X-Long: " + "x" * 1_000_000, "Content-Length: 14"), body),
    ):
        status, _, _ = connection.send_head(*lines, body=content)
        assert status == 0 or 400 <= status < 500, lines
        _assert_unharmed(client)


def test_body_shorter_than_its_content_length_stores_nothing(client):
    """The part that arrives would be a valid body on its own."""
    connection = _RawConnection(client)
    with socket.create_connection((connection.address.hostname, connection.address.port), timeout=20) as half:
        head = f"POST {MEMORIES} HTTP/1.1\r\n{connection.host}\r\nAuthorization: {connection.credential}\r\n"
        half.sendall(f'{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"text": "half"}}'.encode())
        half.shutdown(socket.SHUT_WR)
        while half.recv(65_536):
            pass
    _assert_unharmed(client)


def test_tls_and_noise_on_a_plain_port_are_refused(client):
    """The server goes on answering other callers."""
    connection = _RawConnection(client)
    context = ssl.create_default_context()
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection((connection.address.hostname, connection.address.port), timeout=20) as plain,
    ):
        context.wrap_socket(plain, server_hostname="localhost")
    status, _, _ = connection.send(bytes(range(256)) * 8)
    assert status == 0 or 400 <= status < 500
    _assert_unharmed(client)
