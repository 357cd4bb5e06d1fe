"""Records of any store as files, with their vectors, and back into any store; docs/export-format.md has the formats."""

from super_advanced_agents.stores.embedder import Embedder
from super_advanced_agents.stores.transfer.exporting import aexport_records, export_records
from super_advanced_agents.stores.transfer.importing import (
    Imported,
    Trouble,
    aimport_records,
    import_records,
    open_export,
)
from super_advanced_agents.stores.transfer.layout import FileFormat, Header, sniff

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
