"""Connections to PostgreSQL: URLs, a pool, transactions, migrations and error mapping.

What the tables hold belongs in the layers above. Importing this package loads psycopg.
"""

from super_advanced_agents._runtime.postgres.address import PostgresAddress
from super_advanced_agents._runtime.postgres.database import Database
from super_advanced_agents._runtime.postgres.migrations import (
    MigrationSteps,
    Step,
    TablesVersion,
    migrate,
    missing_relations,
    running_versions,
    tables_version,
)
from super_advanced_agents._runtime.postgres.packed import Packed
from super_advanced_agents._runtime.postgres.pool import Connection

__all__ = [
    "Connection",
    "Database",
    "MigrationSteps",
    "Packed",
    "PostgresAddress",
    "Step",
    "TablesVersion",
    "migrate",
    "missing_relations",
    "running_versions",
    "tables_version",
]
