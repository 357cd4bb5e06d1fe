"""Maintenance of a whole store: backup, restore, re-embedding, expiry, inspection.

The operations on single records belong to `writing/` and to the readers beside `store.py`.
"""
