"""The control database: its tables, every query on them, and the feed of route changes."""
