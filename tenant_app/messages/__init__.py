"""Messages: what is said in conversations."""
