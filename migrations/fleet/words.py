"""Why a target could not be migrated, for a person, and without anything that a tenant's rows hold."""

from __future__ import annotations

import psycopg

from control_plane.domain.errors import CopyholdError

_DATA_EXCEPTION = "22"
"""The class of SQLSTATEs whose first line quotes the value that did not fit."""


def in_words(problem: psycopg.Error | CopyholdError) -> str:
    """One line. Never a database's DETAIL, and no value of a row."""
    if isinstance(problem, CopyholdError):
        return problem.message
    if (problem.sqlstate or "").startswith(_DATA_EXCEPTION):
        return f"a value in its rows does not fit: {type(problem).__name__} ({problem.sqlstate})"
    return problem.diag.message_primary or str(problem).partition("\n")[0] or type(problem).__name__
