"""The roll (who the tenants are, where they live, what they may do) and the road to their homes."""
