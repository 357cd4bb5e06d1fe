"""The protobuf messages of the API's version 1, generated from proto/ by `make contracts`.

Edit the .proto files and generate again; code written by hand belongs in `protocol`.
"""
