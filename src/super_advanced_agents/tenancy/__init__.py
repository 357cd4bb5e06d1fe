"""The data of each tenant and the components that tenants share, without REST or gRPC code.

Settings, the runtime, workspaces, the catalog, collections, result caching and declared agents belong here. Routes, RPC
handlers, authentication and admission do not: they are in `server`, which depends on this folder.
"""
