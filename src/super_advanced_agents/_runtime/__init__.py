"""Futures, micro-batches, the sync bridge, resource lifecycles, SQLite files and uids.

Code that knows about memories, vectors, models or servers belongs in the layers above.
"""
