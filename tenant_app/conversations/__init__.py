"""Conversations: threads of messages about one subject."""
