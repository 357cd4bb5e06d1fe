"""The functions that carry out the server's operations, shared by REST and gRPC.

Wire formats belong to `protocol/` and `server/http/schemas/`; status codes belong to `protocol/problems.py`.
"""
