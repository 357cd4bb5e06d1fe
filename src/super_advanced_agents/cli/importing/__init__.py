"""Import of files: find files, split them into memories, and store these while reading on."""
