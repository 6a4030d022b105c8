"""`copyhold doctor`: looks at the roll, the servers and the pooler with other eyes than those that made them.

It changes nothing. What it finds has a name, a severity and a remedy; `examine` is the one way in.
"""
