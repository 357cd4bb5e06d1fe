"""Migration of everything that tenants have from one store to another."""

from super_advanced_agents.tenancy.migration.migrating import Migrated, Migration

__all__ = ["Migrated", "Migration"]
