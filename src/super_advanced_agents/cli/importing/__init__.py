"""Import of files: find files, split them into memories (texts to store), and store these."""
