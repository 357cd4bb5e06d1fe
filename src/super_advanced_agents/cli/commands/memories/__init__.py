"""Commands of a memory's user: add, list, get, edit, forget, search, ask, chat, agents."""
