"""`PgVectorStore`: records, vectors and keywords in PostgreSQL with pgvector.

Importing this package loads no driver; a store does when it is made.
"""

from super_advanced_agents.stores.postgres.store import PgVectorStore

__all__ = ["PgVectorStore"]
