"""The machinery everything asynchronous stands on; nothing here knows what it carries."""
