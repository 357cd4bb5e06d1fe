"""Agents that remember: embed, store, find and answer, asynchronously, on one machine or many."""
