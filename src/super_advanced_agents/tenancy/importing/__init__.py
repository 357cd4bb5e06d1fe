"""Import of files: compare them with what is stored of them, and store the difference.

What a file holds is parsed by `formats`.
"""
