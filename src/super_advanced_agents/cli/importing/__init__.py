"""Import of files: finding them, cutting them into memories, storing them while reading on."""
