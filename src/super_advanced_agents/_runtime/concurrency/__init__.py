"""Futures, event loops and threads: the sync bridge, slices of work, and closable resources.

Queues, in which work waits for its turn, belong in `queues/`.
"""
