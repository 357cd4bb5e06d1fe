"""Helpers: futures, batching, blocking forms of coroutines, closing, SQLite files and uids.

Code about memories, vectors, models or servers belongs in the layers above.
"""
