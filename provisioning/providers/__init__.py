"""How a server comes to be: one module a provider, all behind the protocol in `base`."""
