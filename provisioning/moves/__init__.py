"""One tenant from home to home: its rows copied from a snapshot, then the changes that a stream of its own brings."""
