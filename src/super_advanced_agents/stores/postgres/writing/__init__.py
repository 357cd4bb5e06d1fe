"""Writes to a store in PostgreSQL: records, their keyword index, deletions and expiry."""
