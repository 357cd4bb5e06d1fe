"""Benchmarks of this project beside references and peers, on the same data (`make bench`).

`python -m benchmarks` prints the table; docs/benchmarks.md explains the rows and the measuring.
"""
