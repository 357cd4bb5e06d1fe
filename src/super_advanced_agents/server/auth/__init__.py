"""Authentication: API keys, JWTs of a token issuer, and the first admin key of a new server.

The scopes that an operation requires belong to `protocol/operations.py`, principals to `tenancy/context.py`.
"""
