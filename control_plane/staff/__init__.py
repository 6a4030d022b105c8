"""People of the SaaS company: who they are, what they show, what their role allows."""
