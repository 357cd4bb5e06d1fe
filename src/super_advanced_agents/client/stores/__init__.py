"""Clients of vector stores: of a collection of a server, and of a store in this process."""
