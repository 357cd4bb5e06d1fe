"""Clients of a server that speaks TLS."""

from __future__ import annotations

import pytest
from tests.integration.test_serving import _self_signed

from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError


def test_clients_believe_whom_they_are_told_to(machine, tmp_path):
    """Over both transports; nobody else, and nothing is sent without TLS."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _self_signed(cert, key)
    settings = {"SAA_TLS_CERT": str(cert), "SAA_TLS_KEY": str(key), "SAA_GRPC_PORT": "0"}
    with machine.server(settings, verify=False) as server:
        for url in (server.told["url"], server.told["grpc"]):
            assert url.partition(":")[0] in {"https", "grpcs"}
            with DistributedVectorStore(url, collection="safe", api_key=machine.key, ca_file=cert, dim=2) as store:
                store.add([1.0, 2.0], None, url[:5])
                assert store.get([url[:5]])[0].vector.tolist() == [1.0, 2.0]
            with (
                DistributedVectorStore(url, collection="safe", api_key=machine.key, timeout_s=1) as stranger,
                pytest.raises(EngineUnavailableError),
            ):
                stranger.count()
            with pytest.raises(ConfigurationError, match="ca_file"):
                DistributedVectorStore(url.replace("s://", "://"), ca_file=cert)
