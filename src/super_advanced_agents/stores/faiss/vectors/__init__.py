"""Vectors in memory: new rows in buffers, FAISS segments, and their snapshots on disk.

All code that calls FAISS belongs here; SQL does not.
"""
