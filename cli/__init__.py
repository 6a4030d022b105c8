"""The `copyhold` command: parses, calls, prints; starts the processes and wires the parts together."""
