"""Writes: groups of requests become one transaction, and the indexes follow each commit.

SQL belongs to `rows/`; work that a store does by itself, such as expiry, belongs to `maintenance/`.
"""
