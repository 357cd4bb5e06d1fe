"""The statements that create the tables of a store in PostgreSQL, whole or in partitions."""

from __future__ import annotations

import re

from super_advanced_agents.stores.postgres.codecs import PgStorage

_INLINE_BYTES = 6_000
"""Vectors of up to this size stay in the row, where an exact search reads them at once."""

_TABLES = (
    "CREATE TABLE {schema}.settings (name text PRIMARY KEY, value text NOT NULL)",
    """CREATE TABLE {schema}.tenants (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        languages text[] NOT NULL DEFAULT '{}' -- of its texts, other than English
    )""",
    """CREATE TABLE {schema}.scopes ( -- a scope is one tenant's namespace
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant integer NOT NULL REFERENCES {schema}.tenants,
        namespace text COLLATE "C" NOT NULL,
        model text, -- of its vectors
        digests boolean NOT NULL DEFAULT false, -- true from the first write with dedupe on: every record has a digest
        sessions boolean NOT NULL DEFAULT false, -- true from the first record with a session on
        expires boolean NOT NULL DEFAULT false, -- true from the first record that expires on
        graph text, -- 'building' or 'ready'
        graph_at double precision,
        version bigint NOT NULL DEFAULT 0,
        rows bigint NOT NULL DEFAULT 0,
        texts bigint NOT NULL DEFAULT 0, -- with the terms of all of them, for BM25
        text_terms bigint NOT NULL DEFAULT 0,
        window_terms bigint NOT NULL DEFAULT 0,
        UNIQUE (tenant, namespace)
    )""",
    "CREATE SEQUENCE {schema}.seqs CACHE 1",
    "CREATE SEQUENCE {schema}.versions CACHE 1",
    """CREATE TABLE {schema}.records (
        seq bigint NOT NULL, -- never reused; a replaced record gets a new one
        scope integer NOT NULL,
        created_at double precision NOT NULL,
        updated_at double precision NOT NULL,
        expires_at double precision,
        priority double precision,
        place bigint NOT NULL, -- in its session
        vector {type}({dim}) NOT NULL,
        uid text COLLATE "C" NOT NULL,
        session text COLLATE "C",
        source text COLLATE "C",
        model text,
        digest bytea, -- of its content
        original bytea, -- the vector, where pgvector cannot compare it at its own length
        fields jsonb NOT NULL, -- of the metadata, for filters
        metadata text NOT NULL, -- JSON as it was given, without the text
        text text COLLATE "C",
        PRIMARY KEY (scope, uid)
    )""",
    "CREATE UNIQUE INDEX records_seq ON {schema}.records (seq)",
    "CREATE INDEX records_session ON {schema}.records (scope, session, place, seq) WHERE session IS NOT NULL",
    "CREATE INDEX records_source ON {schema}.records (scope, source) WHERE source IS NOT NULL",
    "CREATE INDEX records_digest ON {schema}.records (scope, digest) WHERE digest IS NOT NULL",
    "CREATE INDEX records_expiry ON {schema}.records (scope, expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX records_fields ON {schema}.records USING gin (fields jsonb_path_ops)",
    """CREATE TABLE {schema}.entries ( -- the texts in the keyword index, by which their postings are found
        seq bigint PRIMARY KEY,
        text_length integer NOT NULL,
        window_length integer NOT NULL,
        terms text[] COLLATE "C" NOT NULL
    )""",
    """CREATE TABLE {schema}.postings (
        seq bigint NOT NULL,
        tenant integer NOT NULL,
        scope integer NOT NULL,
        text_length integer NOT NULL,
        window_length integer NOT NULL,
        text_count smallint NOT NULL,
        window_count smallint NOT NULL,
        term text COLLATE "C" NOT NULL
    )""",
    """CREATE INDEX postings_term ON {schema}.postings (tenant, term, scope, seq)
        INCLUDE (text_length, window_length, text_count, window_count)""",
    """CREATE TABLE {schema}.writes (
        tenant text COLLATE "C" NOT NULL,
        write_id text COLLATE "C" NOT NULL,
        at double precision NOT NULL,
        digest bytea NOT NULL, -- of the request
        result text, -- JSON
        PRIMARY KEY (tenant, write_id)
    )""",
    "CREATE INDEX writes_at ON {schema}.writes (at)",
)

_PARTITIONED = {"records": "scope", "postings": "tenant"}
"""The large tables, and the columns by whose hash their rows go to partitions.

All rows of a namespace are in one partition of the records, and all postings of a tenant in one of the postings, so
that a statement about one of them reads one partition. `entries` stays whole: its rows are small, and found by number.
"""

_STORAGE = {
    "scopes": "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05",
    "records": "autovacuum_vacuum_insert_scale_factor = 0.05",
    "postings": "autovacuum_vacuum_insert_scale_factor = 0.05",
}
"""Tables of steady change are cleaned up early, so that their indexes stay small."""

_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (\w+)")
INDEXES = tuple(found[2] for statement in _TABLES if (found := _INDEX.match(statement)))
"""The names of the indexes of the tables, without those of primary keys and graphs."""


def created_tables(dim: int, storage: PgStorage, partitions: int) -> list[str]:
    """Return the statements that create the tables, with `{schema}` for the schema's name.

    Args:
        dim: the length of a vector.
        storage: the type of its column.
        partitions: the partitions of each large table; 1 for whole tables.
    """
    statements = [each.replace("{type}", storage).replace("{dim}", str(dim)) for each in _TABLES]
    if partitions > 1:
        statements = [_partitioned(each) for each in statements]
        for table in _PARTITIONED:
            statements += [
                f"CREATE TABLE {{schema}}.{leaf} PARTITION OF {{schema}}.{table} "
                f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {i})"
                for i, leaf in enumerate(_leaves(table, partitions))
            ]
    for table, settings in _STORAGE.items():
        statements += [f"ALTER TABLE {{schema}}.{leaf} SET ({settings})" for leaf in _leaves(table, partitions)]
    size = dim * (4 if storage == "vector" else 2)
    inline = "PLAIN" if size <= _INLINE_BYTES else "EXTERNAL"
    return [*statements, f"ALTER TABLE {{schema}}.records ALTER COLUMN vector SET STORAGE {inline}"]


def _leaves(table: str, partitions: int) -> list[str]:
    # A partitioned table itself has no rows and takes no settings of storage.
    if partitions == 1 or table not in _PARTITIONED:
        return [table]
    return [f"{table}_{i}" for i in range(partitions)]


def _partitioned(statement: str) -> str:
    # An index that is unique over all partitions needs their column; numbers of rows come from one sequence.
    statement = statement.replace("CREATE UNIQUE INDEX records_seq", "CREATE INDEX records_seq")
    for table, column in _PARTITIONED.items():
        if statement.startswith(f"CREATE TABLE {{schema}}.{table} "):
            return f"{statement} PARTITION BY HASH ({column})"
    return statement
