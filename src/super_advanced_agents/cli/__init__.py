"""The `saa` command line. Its modules import heavy libraries inside functions, so that `saa --help` is quick."""
