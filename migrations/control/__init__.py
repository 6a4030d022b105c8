"""The chain of the control database."""
