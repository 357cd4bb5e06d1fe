"""Clients connect to a real server over TLS."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time

import httpx2
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


def _shown_by(url):
    # The certificate that a server shows to a new connection, as PEM.
    host, _, port = url.partition("://")[2].rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=10) as raw, context.wrap_socket(raw) as shown:
        return ssl.DER_cert_to_PEM_cert(shown.getpeercert(binary_form=True))


def _wait_until(holds):
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_running_server_shows_a_renewed_certificate_and_none_that_cannot_be_used(machine, tmp_path):
    """REST, gRPC and the port of metrics take it without a restart; the metric says when it expires."""
    cert, key, log = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "log"
    write_self_signed_certificate(cert, key)
    first = cert.read_text()
    settings = {"SAA_TLS_CERT": str(cert), "SAA_TLS_KEY": str(key), "SAA_GRPC_PORT": "0", "SAA_METRICS_PORT": "0"}
    with log.open("w") as stderr, machine.server(settings, stderr, verify=False) as server:
        started = server.startup_info
        urls = [started["url"], started["grpc"], started["metrics"].removesuffix("/metrics")]
        assert [_shown_by(url) for url in urls] == [first] * 3
        cert.write_text("no certificate")
        _wait_until(lambda: log.read_text().count("server.certificate_not_renewed") == 3)
        assert [_shown_by(url) for url in urls] == [first] * 3
        write_self_signed_certificate(cert, key, valid_for=dt.timedelta(days=9))
        _wait_until(lambda: [_shown_by(url) for url in urls] == [cert.read_text()] * 3)
        for url in urls[:2]:
            with DistributedVectorStore(url, collection="safe", api_key=machine.key, ca_file=cert, dim=2) as store:
                assert store.add([1.0, 2.0])
        metrics = httpx2.get(started["metrics"], verify=False).text
        expires = float(metrics.split("\nsaa_certificate_expires_timestamp_seconds ")[1].split()[0])
        assert expires > time.time() + 8 * 86_400
