"""Export of a store's records to JSON lines or Parquet, and import into any store.

Backups of a store's own files (`stores.faiss.maintenance`) and imports of texts (`tenancy.importing`) do not
belong here.
"""

from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.transfer.exporting import aexport_records, export_records
from super_advanced_agents.stores.transfer.importing import (
    aimport_records,
    import_records,
    open_export,
)
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, sniff
from super_advanced_agents.stores.transfer.storing import Imported, Trouble

__all__ = [
    "Embedder",
    "FileFormat",
    "Header",
    "Imported",
    "Trouble",
    "aexport_records",
    "aimport_records",
    "export_records",
    "import_records",
    "open_export",
    "sniff",
]
