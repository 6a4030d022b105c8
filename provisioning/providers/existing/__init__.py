"""Servers that others run: looked at closely, and used. Nothing of theirs is started or stopped."""
