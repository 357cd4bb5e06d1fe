"""Tests of URLs of PostgreSQL databases: schemas, malformed URLs, and passwords that nothing shows."""

from __future__ import annotations

import pytest

from super_advanced_agents._runtime.postgres import PostgresAddress
from super_advanced_agents.errors import ConfigurationError

SECRET = "s3cret-of-nobody"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@db.example:5432/memories?sslmode=require",
        f"postgres://ann:{SECRET}@db.example/memories?schema=one",
        f"postgresql://ann@db.example/memories?password={SECRET}",
    ],
)
def test_a_password_is_in_no_text_of_an_address(url: str) -> None:
    """Neither `repr`, `str` nor the shown URL has it; libpq gets it."""
    address = PostgresAddress.parse(url)
    assert SECRET not in f"{address!r} {address} {address.shown}"
    assert SECRET in address.conninfo
    assert "db.example" in address.shown


def test_schema_is_taken_from_the_url() -> None:
    """`?schema=` names it and is hidden from libpq; the other parameters stay."""
    address = PostgresAddress.parse("postgresql://h/db?schema=agents_1&sslmode=disable")
    assert (address.schema, address.conninfo) == ("agents_1", "postgresql://h/db?sslmode=disable")
    assert PostgresAddress.parse("postgresql://h/db").schema == "saa"
    assert address.with_schema("other").schema == "other"
    assert address.with_schema("other").conninfo == address.conninfo


def test_partitions_are_taken_from_the_url() -> None:
    """They are hidden from libpq, and are those of one schema."""
    address = PostgresAddress.parse("postgresql://h/db?partitions=16&schema=a")
    assert (address.partitions, address.conninfo) == (16, "postgresql://h/db")
    assert PostgresAddress.parse("postgresql://h/db").partitions is None
    assert address.with_schema("b").partitions is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:folder",
        "mysql://h/db",
        f"postgresql://ann:{SECRET}%zz@h/db",
        f"postgresql://ann@h/db?passwort={SECRET}",
        f"postgresql://[ann:{SECRET}@h/db",
        "postgresql://h/db?schema=pg_catalog",
        'postgresql://h/db?schema=a"b',
        "postgresql://h/db?schema=",
        "postgresql://h/db?partitions=0",
        "postgresql://h/db?partitions=2000",
        "postgresql://h/db?partitions=many",
    ],
)
def test_malformed_urls_are_refused_without_their_secrets(url: str) -> None:
    """The message says how to write one, and shows no password."""
    with pytest.raises(ConfigurationError) as caught:
        PostgresAddress.parse(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.hint
