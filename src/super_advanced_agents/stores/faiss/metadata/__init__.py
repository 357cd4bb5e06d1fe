"""Metadata indexes, which turn a `where` filter into a set of row numbers.

Filter syntax belongs to `stores/filters.py`; vectors and texts have folders of their own.
"""
