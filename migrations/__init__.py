"""The three Alembic chains (control, home, tenant) and the fleet: every place they run, planned, run and recorded."""
