"""Vectors in memory: the exact tail, sealed FAISS segments, the view, and snapshots.

All code that calls FAISS belongs here; SQL does not.
"""
