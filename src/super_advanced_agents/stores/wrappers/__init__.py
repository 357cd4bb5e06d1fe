"""Stores that wrap another store: a view of one tenant, a guard, a store opened on use.

Engines and the cache of results do not belong here.
"""
