"""Subcommands of `saa`, in folders: memories, transfer, upkeep, and the server.

Code that several commands share belongs in `cli/`.
"""
