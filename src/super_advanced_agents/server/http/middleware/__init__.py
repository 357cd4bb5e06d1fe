"""ASGI middleware: checks and rewriting that apply to every request outside of its route.

Authentication, rate limits and deadlines belong to `server/pipeline.py`, which gRPC shares; the work of one route
belongs to `routes/`.
"""
