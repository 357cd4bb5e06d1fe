"""What `make bench` runs: this project beside its references and peers, in one process, on the same data.

`python -m benchmarks` prints the table; docs/benchmarks.md says what each row means and how it is measured.
"""
