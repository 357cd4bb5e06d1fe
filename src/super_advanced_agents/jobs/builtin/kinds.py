"""The list of the kinds of jobs that every server has."""

from __future__ import annotations

from super_advanced_agents.jobs.builtin.copies import backup, export
from super_advanced_agents.jobs.builtin.importing import import_files
from super_advanced_agents.jobs.builtin.maintenance import check_integrity, probe_recall, reembed
from super_advanced_agents.jobs.builtin.migrating import migrate
from super_advanced_agents.jobs.builtin.prompting import ask_agent
from super_advanced_agents.jobs.builtin.shards import import_shard

BUILTIN = (
    ask_agent,
    backup,
    check_integrity,
    export,
    import_files,
    import_shard,
    migrate,
    probe_recall,
    reembed,
)
"""The kinds; a server adds those of the modules that its operator names."""
