"""The source of truth of a store: its records, one row each, in one SQLite file.

Every write ends here and every index can be rebuilt from here; this folder does not use FAISS or BM25.
"""
