"""The catalog of a service: the collections and the agents with settings of all tenants."""

from super_advanced_agents.tenancy.catalog.base import Catalog, new_collection
from super_advanced_agents.tenancy.catalog.rows import Entry
from super_advanced_agents.tenancy.catalog.sqlite import SQLiteCatalog

__all__ = ["Catalog", "Entry", "SQLiteCatalog", "new_collection"]
