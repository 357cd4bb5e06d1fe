"""Vectors in memory: the exact tail, sealed FAISS segments, the view that a search sees, and their snapshots.

Code that calls FAISS belongs here and nowhere else; SQL does not.
"""
