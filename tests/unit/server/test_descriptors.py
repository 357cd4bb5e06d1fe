"""Test how the limit of open files is raised, and what is fitted into it."""

from __future__ import annotations

import resource

import pytest

from super_advanced_agents.server.descriptors import fitted, raised_limit
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def limits():
    """Restore the limits of the process after a test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_soft_limit_is_raised_to_the_hard_limit(limits):
    """A service often starts with 1,024 of half a million."""
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert raised_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512


def test_numbers_that_fit_are_kept():
    """Nothing is logged either."""
    settings = Settings.load()
    assert fitted(settings, 65_536) is settings


@pytest.mark.parametrize("grpc", [True, False])
@pytest.mark.parametrize("limit", [256, 1_024, 1_700])
def test_small_limit_lowers_connections_and_collections_with_a_log_line(limit, grpc, caplog):
    """Together they leave descriptors for everything else."""
    lowered = fitted(Settings.load(grpc=grpc), limit)
    listeners = 2 if grpc else 1
    assert limit - listeners * lowered.max_connections - 10 * lowered.max_open_collections >= 64
    assert lowered.max_connections >= 1
    assert lowered.max_open_collections >= 1
    assert "server.descriptors_are_few" in caplog.text
