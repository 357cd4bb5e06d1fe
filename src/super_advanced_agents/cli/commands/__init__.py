"""Subcommands of the `saa` command line, one file for each group."""
