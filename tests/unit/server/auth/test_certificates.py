"""Test the checks of the server's own certificate at the start."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from tests.certificate import write_self_signed_certificate

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.certificates import check_certificate, expiry_of
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def certificate(tmp_path):
    """Return a function that writes a certificate and returns the settings with it."""

    def write(valid_for, **times):
        files = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
        write_self_signed_certificate(*files.values(), valid_for=valid_for, **times)
        expiry_of.cache_clear()
        return Settings.load(data_dir=tmp_path / "data", **files)

    yield write
    expiry_of.cache_clear()


def test_certificate_that_expired_is_refused_with_its_day(certificate):
    """No client would accept it, so the operator learns of it at the start."""
    settings = certificate(dt.timedelta(hours=-1))
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3600))
    with pytest.raises(ConfigurationError, match=f"expired at {day}") as caught:
        check_certificate(settings)
    assert "renew it" in caught.value.hint


def test_certificate_that_is_not_valid_yet_is_refused_with_its_day(certificate):
    """The cause may be the machine's clock, so the hint names that too."""
    settings = certificate(dt.timedelta(days=9), valid_in=dt.timedelta(days=2))
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2 * 86_400))
    with pytest.raises(ConfigurationError, match=f"is valid from {day}") as caught:
        check_certificate(settings)
    assert "clock" in caught.value.hint


@pytest.mark.parametrize(("spoil", "reason"), [("key", "that of another certificate"), ("PEM", "not PEM")])
def test_unusable_certificate_is_refused_in_words(certificate, tmp_path, spoil, reason):
    """The reasons of OpenSSL name its source files."""
    settings = certificate(dt.timedelta(days=2))
    if spoil == "key":
        write_self_signed_certificate(tmp_path / "other.pem", settings.tls_key)
    else:
        settings.tls_key.write_text("no key")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        check_certificate(settings)
    assert "ssl.c" not in str(caught.value)


def test_valid_certificate_and_none_are_accepted(certificate, tmp_path):
    """The metric says when it expires."""
    check_certificate(Settings.load(data_dir=tmp_path / "data"))
    settings = certificate(dt.timedelta(days=2))
    check_certificate(settings)
    assert 0 < expiry_of(settings.tls_cert) - time.time() <= 2 * 86_400
