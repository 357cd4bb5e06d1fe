"""Tests of starting over a store in PostgreSQL that no request could use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


async def test_start_over_a_store_of_another_dimension_is_refused(postgres_schema_url: str, tmp_path: Path) -> None:
    """It names both and the setting, before any request is taken."""
    async with PgVectorStore(postgres_schema_url, 8) as store:
        await store.aadd(np.ones(8))
    settings = Settings.load(
        data_dir=tmp_path,
        store=postgres_schema_url,
        embedding_base_url="http://127.0.0.1:9/v1",
        embedding_model="none",
        embedding_dim=5,
    )
    async with Runtime(settings) as runtime:
        with pytest.raises(ConfigurationError, match="dim=8, not 5") as caught:
            await runtime.aopen()
    assert "SAA_EMBEDDING_MODEL" in str(caught.value.hint)
