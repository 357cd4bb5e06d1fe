"""What a process has for each tenant: shared engines, workspaces, catalogue, collections, declared agents."""
