"""Conversations: the exports of chat services, messengers, mail and agent frameworks, one module each."""
