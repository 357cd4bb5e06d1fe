"""Authentication: API keys, tokens (JWT) of an issuer, and the first admin key.

The scopes that an operation requires belong to `protocol/operations.py`, principals to `tenancy/context.py`.
"""
