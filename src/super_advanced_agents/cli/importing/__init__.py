"""Import of the files that `saa export` wrote.

What a file holds is parsed by `formats`.
"""
