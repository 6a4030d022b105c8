"""`copyhold doctor --repair`: from what the roll says and what is there to a list of repairs, and carrying them out.

`look` reads both, `plan` compares them (pure), `carry_out` does one repair after the other, each under a lock and after
another look of its own. `repairing` is the one way in.
"""
