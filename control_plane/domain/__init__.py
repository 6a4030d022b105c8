"""Frozen values and pure decisions of the platform; standard library only."""
