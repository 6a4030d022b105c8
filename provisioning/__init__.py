"""Makes reality match the roll: servers, databases, schemas, roles, pooler entries; each step may be repeated."""
