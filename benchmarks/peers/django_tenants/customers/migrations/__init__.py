"""The chain of the shared tables."""
