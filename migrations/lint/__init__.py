"""Whether a revision can be run over a fleet that is in use: rules on its module, its statements, and what it does."""
