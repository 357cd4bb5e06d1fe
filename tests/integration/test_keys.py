"""Keys of a real server: the first one, those of `saa keys` beside it, and none at all."""

from __future__ import annotations

import httpx2


def _status_becomes(client, key, status):
    """Ask until the answer is `status`; `pytest-timeout` ends it if it never is."""
    while client.get("/v1/agents", headers={"Authorization": f"Bearer {key}"}).status_code != status:
        pass


def test_a_newcomer_gets_a_key_once_and_keys_change_beside_the_server(machine):
    """The first start prints an admin key that works at once; `saa keys` makes and revokes others without a restart."""
    with machine.server() as client:
        assert client.told["admin_key"].startswith("saa_")
        assert client.get("/v1/agents").status_code == 200
        with httpx2.Client(base_url=client.base_url) as stranger:
            assert stranger.get("/v1/agents").status_code == 401
            assert stranger.get("/healthz").status_code == 200
        made = machine.json("keys", "create", "--scope", "memories:read")
        assert client.get("/v1/agents", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200
        denied = client.post("/v1/agents/a/memories", json={"text": "x"}, headers={"X-API-Key": made["key"]})
        assert denied.status_code == 401  # beside the admin's in the other header: two different ones
        machine.saa("keys", "revoke", made["id"])
        _status_becomes(client, made["key"], 401)
        listed = machine.json("keys", "list")["keys"]
        assert [each["state"] for each in listed] == ["valid", "revoked"]


def test_people_are_shown_the_key_and_what_to_do_with_it(machine):
    """On standard error, beside the address; a log file of results has no key in it."""
    with machine.start("serve", "--port", 0, "--no-grpc") as process:
        shown = [process.stderr.readline() for _ in range(3)]
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert "Serving at" in shown[0]
    assert "saa_" in shown[1]
    assert "Authorization: Bearer" in shown[2]
    assert "saa_" not in out + err


def test_nothing_listens_beyond_loopback_before_there_is_a_key(machine):
    """Told in a sentence, with the command that helps; without authentication never."""
    told = machine.start_and_fail("serve", "--host", "0.0.0.0", "--port", 0)
    assert "before there is a key" in told
    assert "saa keys create" in told
    assert "without authentication" in machine.start_and_fail("serve", "--host", "0.0.0.0", "--port", 0, "--no-auth")
