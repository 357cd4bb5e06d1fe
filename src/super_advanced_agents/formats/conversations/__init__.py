"""Conversations: exports of chat services, messengers, mail and agent frameworks."""
