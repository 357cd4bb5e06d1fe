"""Tests of how a process finds the models in its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.model_loading import check_models_dir
from super_advanced_agents.tenancy.settings import Settings


def test_user_without_a_home_folder_is_refused_only_where_models_need_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server would otherwise listen, and never be ready."""

    def unknown(user_id: int) -> None:
        raise KeyError(user_id)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigurationError, match="set HOME"):
        check_models_dir(Settings())
    check_models_dir(Settings(models_dir=tmp_path))
    url = "http://127.0.0.1:1/v1"
    check_models_dir(Settings(embedding_base_url=url, generation_base_url=url, embedding_dim=3))
