"""The gRPC server: its services, their methods, and the health and reflection services.

Handlers that REST shares belong to `server/handlers/`; messages and codecs belong to `protocol/`.
"""
