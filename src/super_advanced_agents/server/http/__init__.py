"""The REST side of the server: how HTTP is read, checked, routed, answered and documented.

What a request does belongs to `server/handlers/`, which gRPC calls too; shared checks belong to `server/pipeline.py`.
"""
