"""REST over HTTP: the listener, middleware, routes, schemas, streaming and OpenAPI document.

The operations themselves belong to `server/handlers/`, which gRPC calls too; the checks that both protocols share
belong to `server/pipeline.py`.
"""
