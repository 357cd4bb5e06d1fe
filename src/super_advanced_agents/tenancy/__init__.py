"""Data of tenants and components that tenants share, independent of REST and gRPC.

Settings, the runtime, workspaces, the catalog, collections, result caching and declared agents belong here. Routes, RPC
handlers, authentication and admission do not: they are in `server`, which depends on this folder.
"""
