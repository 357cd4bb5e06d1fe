"""The gRPC side: services over the same workspaces that REST routes use."""
