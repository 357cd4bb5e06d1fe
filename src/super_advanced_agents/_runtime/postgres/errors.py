"""Errors of psycopg and PostgreSQL, mapped to those of this package."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from super_advanced_agents.errors import (
    ConfigurationError,
    CorruptStoreError,
    DeadlineExceededError,
    EngineUnavailableError,
    InvalidInputError,
    OverloadedError,
    StoreError,
    StoreFullError,
    SuperAdvancedAgentsError,
)

RETRIED = frozenset({"40001", "40P01"})
"""SQLSTATEs of transactions that succeed when repeated: serialization failure, deadlock."""

_CONNECTING = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("authentication failed", "28000"),
    ("no pg_hba.conf entry", "28000"),
    ("too many clients", "53300"),
    ("too many connections", "53300"),
    ("remaining connection slots", "53300"),
    ("no more connections allowed", "53300"),
    ("session is not read-write", "25006"),
    ("session is read-only", "25006"),
    ("is starting up", "57P03"),
    ("is shutting down", "57P03"),
    ("not yet accepting connections", "57P03"),
)
"""Words of libpq when it cannot connect, with the SQLSTATE, which it does not give."""


def map_error(error: Exception, shown: str) -> SuperAdvancedAgentsError:
    """Return the error of this package for one that psycopg raised.

    Args:
        error: the error of psycopg.
        shown: the URL of the database without its password, for the message.
    """
    if isinstance(error, SuperAdvancedAgentsError):
        return error
    state = _sqlstate(error)
    if (known := _known(state, shown)) is not None:
        return known
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError) or state[:2] in ("08", "57"):
        return EngineUnavailableError(
            f"the PostgreSQL database {shown} cannot be reached", hint="check that it runs and that the URL is right"
        )
    return StoreError(f"the PostgreSQL database {shown} refused a statement with the code {state or 'unknown'}")


def is_disconnect(error: BaseException) -> bool:
    """Return whether an error means that the connection is gone, so that another one may work."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError)
    return state[:2] == "08" or state in ("57P01", "57P02", "57P03", "57P05")


def _sqlstate(error: Exception) -> str:
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state)
    text = str(error).lower()
    if "does not exist" in text:
        return "3D000" if "database" in text.partition("does not exist")[0].rpartition("fatal")[2] else "28000"
    return next((state for words, state in _CONNECTING if words in text), "")


def _known(state: str, shown: str) -> SuperAdvancedAgentsError | None:
    if state not in _KNOWN:
        return None
    make, message, hint = _KNOWN[state]
    return make(message.format(f"the PostgreSQL database {shown}"), hint=hint)


def _overloaded(message: str, *, hint: str) -> OverloadedError:
    return OverloadedError(message, retry_after_s=0.5, hint=hint)


_MISSING = (StoreError, "tables are missing in {}", "they were dropped or changed: open the store again")
_RESTARTING = (EngineUnavailableError, "{} is restarting", "try again in a moment")
_BUSY = (_overloaded, "{} is busy with other writes", "try again")
_MEMORY = (_overloaded, "{} is out of memory", "try again")
_SLOW = (
    DeadlineExceededError,
    "{} took too long",
    "narrow the filter or the namespace, ask for fewer records, or raise statement_timeout for the role",
)
_TEXT = (InvalidInputError, "{} cannot store a character of the text", "use a database with the encoding UTF8")
_DAMAGED = (CorruptStoreError, "{} found damaged data", "restore a backup of it")

_KNOWN: dict[str, tuple[Callable[..., SuperAdvancedAgentsError], str, str]] = {
    "28P01": (
        ConfigurationError,
        "{} refused the password",
        "correct it in the URL (such as SAA_STORE) or in the file ~/.pgpass",
    ),
    "28000": (ConfigurationError, "{} refused the login", "check the role's name and the server's pg_hba.conf"),
    "3D000": (ConfigurationError, "{} does not exist", "create it with: createdb NAME"),
    "42501": (
        ConfigurationError,
        "the role has too few rights in {}",
        "an administrator runs: GRANT CREATE ON DATABASE name TO role",
    ),
    "25006": (
        EngineUnavailableError,
        "{} is a read-only standby",
        "use the primary's URL, or several hosts with ?target_session_attrs=read-write",
    ),
    "53100": (StoreFullError, "the disk of {} is full", "make room there; reads go on"),
    "53300": (
        EngineUnavailableError,
        "{} has too many connections",
        "raise its max_connections, or put pgbouncer in front of it",
    ),
    "53200": _MEMORY,
    "53000": _MEMORY,
    "57014": _SLOW,
    "25P03": _SLOW,
    "55P03": _BUSY,
    "40001": _BUSY,
    "40P01": _BUSY,
    "57P01": _RESTARTING,
    "57P02": _RESTARTING,
    "57P03": _RESTARTING,
    "57P05": _RESTARTING,
    "22021": _TEXT,
    "22P05": _TEXT,
    "42P01": _MISSING,
    "42703": _MISSING,
    "3F000": _MISSING,
    "54000": (InvalidInputError, "a value is larger than {} can store", "store less in one record"),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
"""SQLSTATE -> the class of the error, its message, and the next step."""
