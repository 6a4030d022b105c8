"""Where master keys come from and secrets are kept: what stands between the platform and files, variables or AWS."""
