"""The server's own certificate: whether it can be used, and until when."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.settings import Settings, checked_certificate


def check_certificate(settings: Settings) -> None:
    """Raise an error if the certificate of the settings cannot be used, or has expired. Blocks.

    Raises:
        ConfigurationError: a file cannot be read, the key does not fit the certificate, or its time is over.
    """
    if checked_certificate(settings) is None:
        return
    assert settings.tls_cert is not None
    expires_at = expiry_of(settings.tls_cert)
    if expires_at <= time.time():
        day = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        raise ConfigurationError(
            f"the certificate {str(settings.tls_cert)!r} expired at {day}: no client would accept it",
            hint="renew it, put the new files in their places, and start again",
        )


@lru_cache(maxsize=1)
def expiry_of(file: Path) -> float:
    """Return when the first certificate of a PEM file expires, in seconds since 1970.

    The answer is that of the first call: a server reads its certificate once, so that a file which was exchanged
    since says nothing of what it shows.
    """
    from cryptography import x509  # 20 ms, and only servers with TLS need it

    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
