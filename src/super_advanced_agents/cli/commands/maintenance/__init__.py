"""Commands that maintain an installation: setup, pull, doctor, compact, reembed, audit."""
