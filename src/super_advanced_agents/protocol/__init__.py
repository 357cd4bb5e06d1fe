"""The contract between clients and servers: operations, requests, messages and their codecs.

Code that opens connections belongs in `client`; code that listens, authenticates or limits belongs in `server`.
"""
