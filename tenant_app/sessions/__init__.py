"""Signing in and out: by password, by ticket; and the sessions a person has."""
