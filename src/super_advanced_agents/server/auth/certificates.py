"""The server's own certificate: its checks, its end, and its renewal while a server runs."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.settings import Settings

LOOK_EVERY_S = 5.0
"""Seconds between two looks at the files of the certificate."""

_log = get_logger("server")
_Stamp = tuple[tuple[int, int, int], ...]
_OPENSSL = {"KEY_VALUES_MISMATCH": "the key is that of another certificate"}


def check_certificate(settings: Settings) -> tuple[bytes, bytes] | None:
    """Return the certificate chain and the key of the settings as PEM if they can be used now. Blocks.

    Returns:
        None when the settings name no certificate.

    Raises:
        ConfigurationError: a file cannot be read, the key does not fit the certificate, or its time is over or has not
            begun.
    """
    pair = _read_pair(settings)
    if pair is None:
        return None
    begins_at, expires_at = _times(pair[0])
    name = f"the certificate {str(settings.tls_cert)!r}"
    if expires_at <= time.time():
        raise ConfigurationError(
            f"{name} expired at {_shown(expires_at)}: no client would accept it",
            hint="renew it, put the new files in their places, and start again",
        )
    if begins_at > time.time():
        raise ConfigurationError(
            f"{name} is valid from {_shown(begins_at)} on: no client would accept it before",
            hint="use the former one until then; if that time is over, set the machine's clock",
        )
    return pair


@lru_cache(maxsize=1)
def expiry_of(file: Path) -> float:
    """Return when the first certificate of a PEM file expires, in seconds since 1970.

    The answer is that of the first call, and of the first one after a renewal: a file that was exchanged and cannot be
    used says nothing of what the server shows.
    """
    return _times(file.read_bytes())[1]


async def renewals(settings: Settings, listener: str) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield the certificate chain and the key as PEM after each change of their files.

    Files that cannot be used are logged and looked at again; the listener goes on with what it has.

    Args:
        settings: they name the files; without a certificate nothing is yielded.
        listener: the name for the log.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return
    files = (settings.tls_cert, settings.tls_key)
    used, failed = await in_thread(lambda: _stamp(files), name="look at certificate"), None
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        stamp = await in_thread(lambda: _stamp(files), name="look at certificate")
        if stamp == used:
            continue
        try:
            pair = await in_thread(lambda: check_certificate(settings), name="read certificate")
        except (ConfigurationError, ValueError) as exc:  # ValueError: changed again while it was read
            if stamp != failed:
                _log.warning("server.certificate_not_renewed", extra={"listener": listener, "reason": str(exc)})
            failed = stamp
            continue
        used = stamp
        expiry_of.cache_clear()
        assert pair is not None
        yield pair
        _log.info("server.certificate_renewed", extra={"listener": listener, "expires": _shown(_times(pair[0])[1])})


def _stamp(files: tuple[Path, ...]) -> _Stamp | None:
    try:
        found = [file.stat() for file in files]
    except OSError:
        return None
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


def _times(chain: bytes) -> tuple[float, float]:
    from cryptography import x509  # 20 ms, and only servers with TLS need it

    certificate = x509.load_pem_x509_certificate(chain)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read_pair(settings: Settings) -> tuple[bytes, bytes] | None:
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigurationError("a certificate needs its private key", hint="give both --tls-cert and --tls-key")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password="")
        return cert.read_bytes(), key.read_bytes()
    except OSError as exc:  # ssl.SSLError is one
        reason = _OPENSSL.get(exc.reason, "one is not PEM") if isinstance(exc, ssl.SSLError) else exc.strerror
        raise ConfigurationError(
            f"the certificate {str(cert)!r} with the key {str(key)!r} cannot be used: {reason}",
            hint="check --tls-cert and --tls-key: PEM files, the key without a password",
        ) from exc
