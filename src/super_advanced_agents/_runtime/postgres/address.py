"""`PostgresAddress`: the URL of a PostgreSQL database, of which nothing shows a password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from super_advanced_agents.errors import ConfigurationError

SCHEMES = ("postgresql", "postgres")
DEFAULT_SCHEMA = "saa"
MAX_PARTITIONS = 1_024
_OWN = frozenset({"schema", "partitions"})
"""Parameters of the URL that libpq does not know."""
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """Hold where a database is and how to log in, without ever showing the password.

    The password may stand in the URL, or in the file that libpq reads (`~/.pgpass`, `PGPASSFILE`, `?passfile=`).

    Attributes:
        conninfo: the URL for libpq, with the password.
        schema: the PostgreSQL schema that holds the tables: `?schema=` of the URL, else `"saa"`.
        partitions: the partitions of a store's large tables: `?partitions=` of the URL; None where it says nothing.
        shown: the URL without the password and the parameters, for messages.
    """

    conninfo: str = field(repr=False)
    schema: str
    partitions: int | None
    shown: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse the URL of a database, such as `postgresql://user@host:5432/name?schema=saa`.

        Raises:
            ConfigurationError: the URL is malformed; the message shows no part that may be a secret.
        """
        scheme, _, _ = url.partition(":")
        if scheme.lower() not in SCHEMES or not url[len(scheme) :].startswith("://"):
            raise _malformed()
        try:
            parts = urlsplit(url)
            parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise _malformed() from None
        own = {"schema": DEFAULT_SCHEMA, **{name: value for name, value in parameters if name in _OWN}}
        schema = own["schema"]
        if _SCHEMA.fullmatch(schema) is None:
            raise ConfigurationError(
                f"{schema[:80]!r} is not the name of a PostgreSQL schema",
                hint="use 1 to 63 lower-case letters, digits or '_', not beginning with a digit or 'pg_'",
            )
        # libpq's own escapes are those of percent signs; '+' is no space there.
        query = urlencode([each for each in parameters if each[0] not in _OWN], quote_via=quote, safe="/")
        conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))
        _check_conninfo(conninfo)
        user, at, place = parts.netloc.rpartition("@")
        shown = f"postgresql://{user.partition(':')[0]}{at}{place}{parts.path}"
        return cls(conninfo=conninfo, schema=schema, partitions=_partitions(own.get("partitions")), shown=shown)

    def with_schema(self, schema: str) -> PostgresAddress:
        """Return the address of another schema of the same database.

        Raises:
            ConfigurationError: it is not the name of a schema.
        """
        mark = "&" if "?" in self.conninfo else "?"
        return PostgresAddress.parse(f"{self.conninfo}{mark}schema={quote(schema)}")

    def __str__(self) -> str:
        return self.shown


def _partitions(text: str | None) -> int | None:
    if text is None:
        return None
    if re.fullmatch(r"[1-9][0-9]{0,3}", text) is None or int(text) > MAX_PARTITIONS:
        raise ConfigurationError(
            f"{text[:80]!r} is not a number of partitions", hint=f"use a number from 1 to {MAX_PARTITIONS}, such as 16"
        )
    return int(text)


def _check_conninfo(conninfo: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(conninfo)
    except Exception:  # its message may show the password, and so may its cause
        raise _malformed() from None


def _malformed() -> ConfigurationError:
    return ConfigurationError(
        "the URL of the PostgreSQL database is malformed",
        hint="write postgresql://user:password@host:5432/database, with % escapes for special characters",
    )
