"""Pydantic models and examples of JSON bodies, most of them derived from dataclasses.

The conversion of results to JSON belongs to `protocol/json_codec.py`; routes only name these models.
"""
