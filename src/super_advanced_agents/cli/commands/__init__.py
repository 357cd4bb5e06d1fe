"""Subcommands of `saa`, in folders: memories, transfer, maintenance, and the server.

Code that several commands share belongs in `cli/`.
"""
