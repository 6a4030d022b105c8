"""The chain of a tenant's tables."""
