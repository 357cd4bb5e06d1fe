"""A server of `/v1/embeddings` whose vectors depend on the text alone."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DIM = 16


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [
            {"object": "embedding", "index": number, "embedding": vector_of(text)}
            for number, text in enumerate(request["input"])
        ]
        body = json.dumps({"object": "list", "model": "fake", "data": rows, "usage": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # as the base class names it
        """Log nothing."""


def vector_of(text: str) -> list[float]:
    """Return a vector that no other text is likely to have."""
    return [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:DIM]]


@contextmanager
def embedding_server() -> Iterator[str]:
    """Run the server in threads, and yield its base URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="embedding server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
