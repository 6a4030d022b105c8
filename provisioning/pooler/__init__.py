"""PgBouncer: its configuration rendered from the roll, applied to the running one, and read back."""
