"""Subcommands of `saa`, one file for each group."""
