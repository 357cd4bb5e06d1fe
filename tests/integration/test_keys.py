"""A real server accepts the API key of its first start, and the keys that `saa keys` creates beside it."""

from __future__ import annotations

import httpx2


def _wait_for_status(client, key, status):
    """Repeat a request until its status is `status`; `pytest-timeout` ends a loop that never succeeds."""
    while client.get("/v1/agents", headers={"Authorization": f"Bearer {key}"}).status_code != status:
        pass


def test_first_start_prints_admin_key_and_saa_keys_apply_without_restart(machine):
    """The printed key works at once; `saa keys` creates and revokes others while the server runs."""
    with machine.server() as client:
        assert client.startup_info["admin_key"].startswith("saa_")
        assert client.get("/v1/agents").status_code == 200
        with httpx2.Client(base_url=client.base_url, timeout=60) as stranger:
            assert stranger.get("/v1/agents").status_code == 401
            assert stranger.get("/healthz").status_code == 200
        created = machine.json("keys", "create", "--scope", "memories:read")
        assert client.get("/v1/agents", headers={"Authorization": f"Bearer {created['key']}"}).status_code == 200
        denied = client.post("/v1/agents/a/memories", json={"text": "x"}, headers={"X-API-Key": created["key"]})
        assert denied.status_code == 401  # beside the admin's in the other header: two different ones
        machine.saa("keys", "revoke", created["id"])
        _wait_for_status(client, created["key"], 401)
        listed = machine.json("keys", "list")["keys"]
        assert [each["state"] for each in listed] == ["valid", "revoked"]


def test_saa_serve_prints_admin_key_and_its_header_to_standard_error(machine):
    """The key is printed once, so a log file of standard output holds no key."""
    with machine.start("serve", "--port", 0, "--no-grpc") as process:
        startup_lines = []
        while not startup_lines or "Authorization: Bearer" not in startup_lines[-1]:
            line = process.stderr.readline()
            assert line, f"the server ended after {startup_lines}"
            startup_lines.append(line)
        process.terminate()
        out, err = process.communicate(timeout=60)
    logged = (" INFO ", " WARNING ")  # a model may be loaded meanwhile, and called small
    shown = [line for line in startup_lines if not any(level in line for level in logged)]
    assert "Serving at" in shown[0]
    assert "saa_" in shown[1]
    assert len(shown) == 3
    assert "saa_" not in out + err


def test_saa_serve_refuses_a_public_address_without_any_key(machine):
    """The error names the command that creates a key; with `--no-auth` every public address is refused."""
    errors = machine.start_and_fail("serve", "--host", "0.0.0.0", "--port", 0)
    assert "before there is a key" in errors
    assert "saa keys create" in errors
    assert "without authentication" in machine.start_and_fail("serve", "--host", "0.0.0.0", "--port", 0, "--no-auth")
