"""Commands that keep an installation well: setup, pull, doctor, compact, reembed, audit."""
