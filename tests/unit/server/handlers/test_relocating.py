"""A relocation of many memories reserves bytes, since they are read and written as a whole."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.app import create_app
from super_advanced_agents.tenancy.settings import Settings

MEMORIES = "/v1/agents/default/memories"


@pytest.mark.parametrize(("count", "reserves"), [(10, False), (100, True)])
def test_large_relocation_reserves_bytes_until_it_ends(tmp_path, monkeypatch, count, reserves):
    """Twenty at once took 230 MiB; few memories are moved without waiting."""
    app, held = create_app(Settings(data_dir=tmp_path, auth=False)), []
    relocate = AsyncLLMAgent.arelocate_memories

    async def noting(self, *arguments, **others):
        held.append(app.state.services.sending.reserved_bytes)
        return await relocate(self, *arguments, **others)

    monkeypatch.setattr(AsyncLLMAgent, "arelocate_memories", noting)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        memories = [{"uid": f"m{n}", "text": f"note {n}"} for n in range(count)]
        client.post(MEMORIES, json={"memories": memories}).raise_for_status()
        moves = [{"uid": f"m{n}", "extra": {"line": n}} for n in range(count)]
        answer = client.post(f"{MEMORIES}:relocate", json={"memories": moves})
        assert answer.json() == {"relocated": count}
        assert [size > 0 for size in held] == [reserves]
        assert app.state.services.sending.reserved_bytes == 0
