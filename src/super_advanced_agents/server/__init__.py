"""The REST server: thin routes over agents that share one store."""
