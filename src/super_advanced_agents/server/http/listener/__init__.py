"""The REST listener: accepts connections, reads HTTP/1, and stops without losing a request.

Work on a request that was read belongs in `middleware/`, `endpoints.py` and `routes/`.
"""
