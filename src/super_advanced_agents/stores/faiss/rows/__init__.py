"""The truth of a store: its records in one SQLite file, and what is read from it row by row.

Every write ends here and every index is rebuilt from here; nothing in this folder knows FAISS or BM25.
"""
