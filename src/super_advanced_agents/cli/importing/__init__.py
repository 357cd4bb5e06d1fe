"""Import of files: find them, compare them with what an earlier import stored, and store the difference.

What a file holds is parsed by `formats`.
"""
