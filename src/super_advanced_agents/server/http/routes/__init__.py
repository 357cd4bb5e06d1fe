"""What each path answers; one file for each group of paths."""
