"""The examples in `docs/integrations.md` work as they are written there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from super_advanced_agents.server.mcp.configuration import client_configuration

PAGE = (Path(__file__).parents[3] / "docs" / "integrations.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_documented_programs_print_their_results(keyed_server, upstream, tmp_path, monkeypatch, capsys):
    """Every Python block of the page runs against a server."""
    monkeypatch.setenv("SAA_URL", keyed_server.url)
    monkeypatch.setenv("SAA_API_KEY", keyed_server.admin)
    for i, program in enumerate(_blocks("python")):
        (tmp_path / f"program{i}.py").write_text(program, encoding="utf-8")
        runpy.run_path(str(tmp_path / f"program{i}.py"))
    printed = capsys.readouterr().out
    assert "['The Louvre is a museum in Paris']" in printed
    assert "Question: And which city?" in printed
    assert "2 384 7" in printed
    assert "The key is under the mat" in printed


def test_documented_mcp_configuration_equals_the_printed_one(keyed_server):
    """The address differs from server to server, so that of the default port is compared."""
    assert keyed_server.mcp == f"{keyed_server.url}/mcp"
    shown, _ = _blocks("json")
    assert json.loads(shown) == json.loads(client_configuration("http://127.0.0.1:8000"))
