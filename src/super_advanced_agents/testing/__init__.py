"""Fakes and importable behaviour suites, for the tests of this package and of those that extend it."""
