"""Revisions over every place they run: chains compiled to SQL, a pure plan, a run, and its ledger."""
