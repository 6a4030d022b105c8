"""Thin HTTP routes of the control plane, and the one table from an error's kind to a status."""
