"""The `copyhold` command, on a real platform."""
