"""The micro-batcher, the fair queue of tenants, and channels from threads to readers.

The futures that they resolve belong in `concurrency/`.
"""
