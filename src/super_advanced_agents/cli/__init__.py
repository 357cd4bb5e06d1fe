"""The `saa` command line. Its modules import engines inside functions, so that `saa --help` is quick."""
