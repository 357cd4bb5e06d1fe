"""Backup, restore, export and import of a data folder, with the data of all tenants.

What a single store does with its own files (`stores`) does not belong here.
"""
