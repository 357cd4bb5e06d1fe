"""Keyword search with BM25: the analyzer, the postings, the buffer of recent texts, and the snapshot on disk.

Fusion with vector scores belongs to `stores/fusion.py`, for every engine.
"""
