"""What `docs/doors.md` shows works as it stands there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from super_advanced_agents.server.mcp.configuration import client_configuration

PAGE = (Path(__file__).parents[3] / "docs" / "doors.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_programs_run(house, upstream, tmp_path, monkeypatch, capsys):
    """Both of them, against a server."""
    monkeypatch.setenv("SAA_URL", house.url)
    monkeypatch.setenv("SAA_API_KEY", house.admin)
    for i, program in enumerate(_blocks("python")):
        (tmp_path / f"program{i}.py").write_text(program, encoding="utf-8")
        runpy.run_path(str(tmp_path / f"program{i}.py"))
    told = capsys.readouterr().out
    assert "['The Louvre is a museum in Paris']" in told
    assert "Question: And which city?" in told
    assert "2 384 7" in told
    assert "The key is under the mat" in told


def test_the_configuration_is_the_one_that_is_printed(house):
    """But for what differs from server to server."""
    assert house.mcp == f"{house.url}/mcp"
    shown, _ = _blocks("json")
    assert json.loads(shown) == json.loads(client_configuration("http://127.0.0.1:8000"))
