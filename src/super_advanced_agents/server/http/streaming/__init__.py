"""Answers that are sent in pieces, as JSON or events, and disconnections of their clients."""
