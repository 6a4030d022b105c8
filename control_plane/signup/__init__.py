"""Self-service: a company signs up, its owner is led inside."""
