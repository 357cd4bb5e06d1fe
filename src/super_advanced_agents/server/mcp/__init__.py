"""The Model Context Protocol: an agent's memory as tools for other programs' models, over HTTP and over stdio."""
