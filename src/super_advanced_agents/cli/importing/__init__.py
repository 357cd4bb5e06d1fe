"""Files into memories: which files, how they are cut, and how they are stored while the next ones are read."""
