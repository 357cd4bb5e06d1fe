"""Checks of `saa doctor`, one file for each area."""
