"""Exports of a server's memories, and their restoration, with an ordinary key."""
