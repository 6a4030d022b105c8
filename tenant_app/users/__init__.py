"""The people of a tenant, and the service users that its keys act as."""
