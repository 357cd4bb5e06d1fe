"""What an operator gets wrong ends the start with one sentence and the next step, and never with a traceback."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys

import pytest
from tests.certificate import write_self_signed_certificate

_MANY = """
import contextlib, io, json, os, sys
from super_advanced_agents.cli.main import main
for arguments, variables in json.load(sys.stdin):
    os.environ.update(variables)
    errors = io.StringIO()
    sys.argv = ["saa", *arguments]
    try:
        with contextlib.redirect_stderr(errors):
            main()
    except SystemExit as exit:
        print(json.dumps([exit.code, errors.getvalue()]))
    for name in variables:
        del os.environ[name]
"""


def _refusals(tmp_path, cases):
    """Run commands that must fail, one after the other in one process; return their lines of standard error by name."""
    given = [[[str(word) for word in words], env] for words, env in cases.values()]
    environment = {**os.environ, "SAA_DATA_DIR": str(tmp_path / "data"), "SAA_LINGER_S": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _MANY],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == len(cases), done.stdout
    for (code, errors), name in zip(ends, cases, strict=True):
        assert code in {1, 2}, (name, errors)
        assert "Traceback" not in errors, (name, errors)
    return {name: errors.splitlines() for (_, errors), name in zip(ends, cases, strict=True)}


@pytest.fixture
def taken_port():
    """Yield a port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_wrong_starts_say_what_is_wrong_and_what_to_do(tmp_path, taken_port):
    """Ports in use, a missing secret, an expired certificate, broken settings, and proxies that are everybody."""
    files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    write_self_signed_certificate(*files, valid_for=dt.timedelta(minutes=-1))
    certificate = ["--tls-cert", files[0], "--tls-key", files[1]]
    broken = {"syntax": "[agents.a\n", "table": "[agent.a]\n", "value": "[agents.a]\nanswer_tokens = 'x'\n"}
    for name, content in broken.items():
        (tmp_path / f"{name}.toml").write_text(content)
    serve, missing = ["serve", "--port", 0], str(tmp_path / "none")
    found = _refusals(
        tmp_path,
        {
            "port": (["serve", "--port", taken_port, "--no-grpc"], {}),
            "grpc port": ([*serve, "--grpc-port", taken_port], {}),
            "metrics port": ([*serve, "--no-grpc"], {"SAA_METRICS_PORT": str(taken_port)}),
            "health port": (["worker", "--health-port", taken_port], {}),
            "metrics of a worker": (["worker"], {"SAA_METRICS_PORT": str(taken_port)}),
            "secret": (serve, {"SAA_STORE_FILE": missing}),
            "secret of a worker": (["worker"], {"SAA_STORE_FILE": missing}),
            "certificate": ([*serve, *certificate], {}),
            "variable": (serve, {"SAA_DRAIN_S": "soon"}),
            "proxies": (serve, {"SAA_TRUSTED_PROXIES": "0.0.0.0/0"}),
            **{name: ([*serve, "--config", tmp_path / f"{name}.toml"], {}) for name in broken},
        },
    )
    for name in ("port", "grpc port", "metrics port", "health port", "metrics of a worker"):
        assert str(taken_port) in found[name][0], found[name]
    for name in ("secret", "secret of a worker"):
        assert "SAA_STORE_FILE cannot be read: No such file" in found[name][0]
    assert "expired at" in found["certificate"][0]
    assert "renew it" in found["certificate"][1]
    assert "trusted_proxies" in found["proxies"][0]
    for name, word in (("syntax", "line 1"), ("table", "agent"), ("value", "answer_tokens")):
        text = " ".join(found[name])
        assert f"{name}.toml" in text
        assert word in text
    assert {name: lines for name, lines in found.items() if len(lines) != 2} == {}, "the sentence and the next step"


def test_full_disk_stops_a_first_start_with_one_sentence(tmp_path):
    """A later start goes on: `tests/crash/test_disk.py` fills the disk under an open store."""
    folder = tmp_path / "data"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        with pytest.raises(OSError, match="No space"):
            (folder / "ballast").write_bytes(bytes(2 * 1024 * 1024))
        found = _refusals(tmp_path, {"full": (["serve", "--port", 0, "--no-grpc"], {}), "worker": (["worker"], {})})
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    for lines in found.values():
        assert "room" in lines[0], lines
        assert len(lines) == 2
