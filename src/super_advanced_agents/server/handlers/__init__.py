"""The handlers of operations, which REST and gRPC share.

Wire formats belong to `protocol/` and `server/http/schemas/`; status codes belong to `protocol/problems.py`.
"""
