"""The chain of the tenant tables: one chain for pools, bridge schemas and silos."""
