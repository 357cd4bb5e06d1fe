"""The messages of `super_advanced_agents.v1`, generated from proto/ by `make contracts`.

Edit the .proto files and generate again; code written by hand belongs in `protocol`.
"""
