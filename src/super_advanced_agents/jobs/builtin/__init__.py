"""The kinds of jobs that every server has."""

from super_advanced_agents.jobs.builtin.kinds import BUILTIN

__all__ = ["BUILTIN"]
