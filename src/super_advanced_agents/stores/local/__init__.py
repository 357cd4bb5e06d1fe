"""Stores in a local folder: its lock, and opening, backup, restoration and inspection.

Rows, vectors and indexes in the folder belong in `stores/faiss/`.
"""
