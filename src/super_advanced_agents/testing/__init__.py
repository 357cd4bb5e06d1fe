"""Behaviour suites that this package's tests and those of its extensions import.

Tests of this package's own modules belong in `tests/`, and production code never imports this folder.
"""
