"""ASGI middleware around all routes: checks of requests, and rewriting of responses.

Authentication, rate limits and deadlines belong to `server/pipeline.py`, which gRPC shares; the work of one route
belongs to `routes/`.
"""
