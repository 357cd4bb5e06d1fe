"""Reusable pytest suites, imported by the tests of this package and of its extensions.

Tests of this package's own modules belong in `tests/`, and production code never imports this folder.
"""
