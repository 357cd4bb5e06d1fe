"""The connection to a Milvus server: its address, calls, messages and errors.

Schema, rows and expressions are in the folder above; only this folder imports the generated code of the protocol.
"""
