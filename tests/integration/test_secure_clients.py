"""Clients connect to a real server over TLS."""

from __future__ import annotations

import pytest
from tests.certificate import write_self_signed_certificate

from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError


def test_client_accepts_only_a_server_certified_by_its_ca_file(machine, tmp_path):
    """REST and gRPC behave alike, and a `ca_file` without TLS is refused."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_self_signed_certificate(cert, key)
    settings = {"SAA_TLS_CERT": str(cert), "SAA_TLS_KEY": str(key), "SAA_GRPC_PORT": "0"}
    with machine.server(settings, verify=False) as server:
        for url in (server.startup_info["url"], server.startup_info["grpc"]):
            assert url.partition(":")[0] in {"https", "grpcs"}
            with DistributedVectorStore(url, collection="safe", api_key=machine.key, ca_file=cert, dim=2) as store:
                store.add([1.0, 2.0], None, url[:5])
                assert store.get([url[:5]])[0].vector.tolist() == [1.0, 2.0]
            with (
                DistributedVectorStore(url, collection="safe", api_key=machine.key, timeout_s=600) as stranger,
                pytest.raises(EngineUnavailableError, match="not trusted"),  # at once: it is not tried again
            ):
                stranger.count()
            with pytest.raises(ConfigurationError, match="ca_file"):
                DistributedVectorStore(url.replace("s://", "://"), ca_file=cert)
