"""Ways of a call to a server: addresses, connections, retries, gRPC and REST.

Clients of stores and agents, which make the calls, belong in the folders beside this one.
"""
