"""Parts of a record: its metadata as stored, its own fields, patches, digests and sizes.

Requests, which carry records to an engine, belong in `stores/requests.py`.
"""
