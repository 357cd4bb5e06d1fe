"""Helpers for futures, batching, blocking calls of coroutines, closing, SQLite and UUIDs.

Code about memories, vectors, models or servers belongs in the layers above.
"""
