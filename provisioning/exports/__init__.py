"""All of one tenant, written out: what goes in, how it is written, whether it is whole."""
