"""Checks that the command `saa doctor` runs, one file for each area."""
