"""The chain of every database that holds tenants: the `tenancy` schema, always migrated before any tenant table."""
