"""Concurrency, queues, files on disk and calls of other servers, for all layers above.

Code about memories, vectors, models or servers belongs in those layers.
"""
