"""The `saa` command. Its modules import engines inside functions, so that `saa --help` is quick."""
