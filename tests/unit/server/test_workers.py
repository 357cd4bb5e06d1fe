"""Tests of settings with which several processes cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.workers import check_workers
from super_advanced_agents.tenancy.settings import Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "cannot share one embedded store"),
        ({"store": "milvus://db/notes"}, "share no catalog.*SAA_STATE"),
        ({"store": "postgresql://db/notes", "port": 0}, "need ports of their own choice"),
        ({"store": "postgresql://db/notes", "metrics_port": 9_000}, "cannot share one port for metrics"),
    ],
)
def test_settings_of_one_process_are_refused_for_several(tmp_path: Path, options, message: str):
    """One sentence and the next step, before any process starts."""
    with pytest.raises(ConfigurationError, match=message):
        check_workers(Settings(data_dir=tmp_path, grpc=False, **{"port": 8_001, **options}), 2)


def test_workers_share_a_store_in_milvus_with_a_database_beside_it(tmp_path: Path):
    """The catalog and the keys are there."""
    settings = Settings(
        data_dir=tmp_path, grpc=False, port=8_001, store="milvus://db/notes", state="postgresql://db/state"
    )
    check_workers(settings, 2)
