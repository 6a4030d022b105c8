"""Work behind `copyhold migrate …`, one module a command."""
