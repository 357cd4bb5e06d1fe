"""Parameters in PostgreSQL's binary formats."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format


@dataclass(frozen=True, slots=True)
class Packed:
    """Hold a parameter in the binary format of the type that the statement casts it to."""

    data: bytes


class _PackedDumper(Dumper):
    format = Format.BINARY
    oid = 0  # the server takes the type of the cast

    def dump(self, obj: Packed) -> Buffer:
        return obj.data


# Here, so that every connection knows it: one takes over what is registered when it is made, and stores, catalogues
# and keys share the connections of a database.
psycopg.adapters.register_dumper(Packed, _PackedDumper)
