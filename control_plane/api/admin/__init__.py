"""HTTP for staff: everything under /admin."""
