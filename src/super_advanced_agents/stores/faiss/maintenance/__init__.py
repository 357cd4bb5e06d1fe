"""Work on a whole store beside its callers: backup, restore, re-embedding, expiry, inspection.

Operations that callers ask for by request belong to `writing/` and to the readers beside `store.py`.
"""
