"""Measurements against the limit: both sides in one run, in turn; only their ratios mean something."""
