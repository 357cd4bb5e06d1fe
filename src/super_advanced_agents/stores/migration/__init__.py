"""Moving of all records of one store to another, while the first one is used.

Exports to files, and their import (`stores.transfer`), do not belong here.
"""

from super_advanced_agents.stores.migration.checksums import Checksum, digest_of
from super_advanced_agents.stores.migration.existing import open_existing
from super_advanced_agents.stores.migration.journal import Journal
from super_advanced_agents.stores.migration.migrating import Moved, StoreMigration
from super_advanced_agents.stores.migration.records import EngineRecords, FolderRecords, Records
from super_advanced_agents.stores.records.scope import Scope

__all__ = [
    "Checksum",
    "EngineRecords",
    "FolderRecords",
    "Journal",
    "Moved",
    "Records",
    "Scope",
    "StoreMigration",
    "digest_of",
    "open_existing",
]
