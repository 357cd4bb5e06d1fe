"""Keyword search with BM25: analyzer, postings, buffer of recent texts, and snapshot.

Fusion with vector scores belongs to `stores/fusion.py`, for every engine.
"""
