"""Servers as instances of Amazon RDS. Nothing here imports boto3 before AWS is called."""
