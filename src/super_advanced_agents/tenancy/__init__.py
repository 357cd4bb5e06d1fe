"""Everything that belongs to one tenant or is shared between tenants, independent of a wire.

Settings, the runtime, workspaces, the catalog, collections, result caching and declared agents belong here. Routes, RPC
handlers, authentication and admission do not: they are in `server`, which depends on this folder.
"""
