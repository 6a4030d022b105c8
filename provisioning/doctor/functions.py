"""What the functions of the tenancy schema must be at a revision, read from the home chain's own SQL."""

from __future__ import annotations

import functools
import hashlib
import re

from migrations.fleet.chains import HOME

_CHANGE = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION tenancy\.(?P<name>\w+)\((?P<arguments>[^)]*)\)(?P<header>.*?)"
    r"AS \$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$"
    r"|DROP FUNCTION (?:IF EXISTS )?tenancy\.(?P<dropped>\w+)",
    re.DOTALL,
)
_PARALLEL = re.compile(r"PARALLEL (UNSAFE|RESTRICTED|SAFE)")


@functools.cache
def fingerprints(revision: str) -> tuple[str, ...]:
    """One text a function, in the form in which `catalogue.sql` makes them of the functions that are there."""
    found: dict[str, str] = {}
    for phase in HOME.compiled(None, revision):
        for change in _CHANGE.finditer(phase.sql):
            if change["dropped"]:
                found.pop(change["dropped"], None)
            else:
                found[change["name"]] = _fingerprint(change)
    return tuple(found.values())


def _fingerprint(change: re.Match[str]) -> str:
    header = change["header"]
    parallel = _PARALLEL.search(header)
    volatility = "i" if "IMMUTABLE" in header else "s" if "STABLE" in header else "v"
    parts = (
        change["name"],
        len(change["arguments"].split(",")) if change["arguments"].strip() else 0,
        volatility,
        parallel[1][0].lower() if parallel else "u",
        str("SECURITY DEFINER" in header).lower(),
        str("LEAKPROOF" in header).lower(),
        hashlib.sha256(change["body"].encode()).hexdigest(),
    )
    return "/".join(map(str, parts))
