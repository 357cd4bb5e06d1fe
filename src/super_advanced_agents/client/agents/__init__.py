"""Clients of the agents of a server."""
