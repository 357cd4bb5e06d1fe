"""FastAPI routers, one file for each group of paths.

The operations' work belongs to `server/handlers/`; the models of bodies and responses belong to `schemas/`.
"""
