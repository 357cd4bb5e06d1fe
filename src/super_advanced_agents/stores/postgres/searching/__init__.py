"""Searches of a store in PostgreSQL, by vector, by words and by both."""
