"""Writes: one thread executes them, and stores those of a tenant that wait in one call."""
