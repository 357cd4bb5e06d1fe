"""Files of entries, each a memory or a turn: JSON, JSON lines and CSV.

The shapes of single services' exports stand in `conversations`.
"""
