"""Tenants on the roll: wished for, suspended, resumed, and their keys."""
