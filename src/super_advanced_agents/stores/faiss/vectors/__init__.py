"""Vectors in memory: the exact tail, sealed FAISS segments, a search's view of both, and snapshots.

All code that calls FAISS belongs here; SQL does not.
"""
