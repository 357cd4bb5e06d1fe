"""The views of operators on a server: metrics, access lines and traces."""
