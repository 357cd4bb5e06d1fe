"""Pydantic models and examples of REST bodies and answers, derived from the request dataclasses where possible.

Conversion of results belongs to `protocol/json_codec.py`; routes only name these models.
"""
