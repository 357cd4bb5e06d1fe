"""Files on disk: private and flushed files, SQLite databases, and a watch over them.

The tables of a database belong in the layers above.
"""
