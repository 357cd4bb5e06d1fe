"""Replies that are kept for repeated writes are evicted by their bytes, those of an earlier opening included."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from super_advanced_agents.server.idempotency.request_store import (
    IdempotencyKey,
    Reply,
    RequestTable,
    SaveReply,
    StartedRequest,
    StartRequest,
)


def _key(name: str, tenant: str = "acme") -> IdempotencyKey:
    return IdempotencyKey(tenant=tenant, key=name)


def _keep(table: RequestTable, name: str, size: int, tenant: str = "acme") -> None:
    [started] = table.execute([StartRequest(_key(name, tenant), b"digest")])
    assert isinstance(started, StartedRequest)
    table.execute([SaveReply(_key(name, tenant), started.id, Reply(status=200, body=b"x" * size))])


def _kept(table: RequestTable, names: str, tenant: str = "acme") -> str:
    replies = table.execute([StartRequest(_key(name, tenant), b"digest") for name in names])
    return "".join(name for name, reply in zip(names, replies, strict=True) if isinstance(reply, Reply))


def test_oldest_replies_are_evicted_until_the_bytes_of_a_tenant_fit(tmp_path: Path) -> None:
    """However few they are; another tenant's stay."""
    with closing(RequestTable(tmp_path / "requests.db", max_keys=1_000, max_bytes=1_000)) as table:
        _keep(table, "o", 1_000, tenant="other")
        for name in "abcd":
            _keep(table, name, 400)
        assert _kept(table, "o", tenant="other") == "o"
        assert _kept(table, "dc") == "dc"
        assert _kept(table, "ab") == ""


def test_replies_of_an_earlier_opening_count(tmp_path: Path) -> None:
    """A restart does not let a tenant keep as much again."""
    for name in "abcd":
        with closing(RequestTable(tmp_path / "requests.db", max_keys=1_000, max_bytes=1_000)) as table:
            _keep(table, name, 400)
    with closing(RequestTable(tmp_path / "requests.db", max_keys=1_000, max_bytes=1_000)) as table:
        assert _kept(table, "dc") == "dc"
        assert _kept(table, "ab") == ""
