"""What operators see of a server: metrics, access lines and traces."""
