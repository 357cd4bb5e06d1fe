"""Writes: many requests share one transaction, and each commit is applied to the indexes.

The SQL is in `rows/`; the work that a store does by itself, such as expiry, is in `maintenance/`.
"""
