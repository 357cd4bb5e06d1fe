"""Whose call it is: API keys, tokens of an issuer, and what each route and method asks of them."""
