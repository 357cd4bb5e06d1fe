"""REST over HTTP: uvicorn protocol, ASGI middleware, routes, models and OpenAPI document.

The operations themselves belong to `server/handlers/`, which gRPC calls too; the checks that both protocols share
belong to `server/pipeline.py`.
"""
