"""Writing the next revision of a chain: a file in which the safe way is the one that is there already."""

from __future__ import annotations

import enum
import os
import re
from pathlib import Path

from alembic.util import CommandError, rev_id, template_to_file

import migrations
from control_plane.domain.errors import ConflictError, InvalidError, SetupError
from migrations.fleet.chains import Chain

OPEN = "FILL IN"
"""Stands wherever something is left to be written; lint finds it."""
TEMPLATE = "script.py.mako"
LONGEST_MESSAGE = 80
LONGEST_SLUG = 40
_NUMBERED = re.compile(r"(?P<prefix>[a-z]?)(?P<number>\d{3,8})")
_UNFIT = re.compile(r'[\\"]|[^ -~\u00a1-\U0010ffff]')


class Form(enum.StrEnum):
    """What a new revision begins with."""

    SQL = "sql"
    CONCURRENTLY = "concurrently"
    """An index built without a lock, outside of any transaction."""
    PYTHON = "python"
    """Rows changed in small steps, over a connection."""


class RevisionThereError(ConflictError):
    """There is such a file already."""

    code = "revision_there"


class UnwritableChainError(SetupError):
    """The chain's folder cannot be written to."""

    code = "chain_unwritable"


def write_revision(chain: Chain, message: str, form: Form = Form.SQL) -> Path:
    """Write the chain's next revision and say where it is.

    From the chain's own template, else ours. InvalidError for a message that cannot be a headline, RevisionThereError,
    UnwritableChainError.
    """
    headline = _headline(message)
    before = chain.head
    revision = _next(before)
    folder = chain.folder / "versions"
    if not os.access(folder, os.W_OK):
        raise UnwritableChainError(f"{folder} cannot be written to: it belongs to somebody else, or is installed")
    path = folder / f"{revision}_{_slug(headline)}.py"
    if path.exists():
        raise RevisionThereError(f"{path} is there already")
    own = chain.folder / TEMPLATE
    template = own if own.exists() else Path(migrations.__path__[0]) / "tenant" / TEMPLATE
    try:
        template_to_file(
            str(template),
            str(path),
            "utf-8",
            message=headline,
            up_revision=revision,
            down_revision=before,
            branch_labels=None,
            depends_on=None,
            imports="",
            upgrades="",
            downgrades="",
            form=form.value,
        )
    except CommandError as error:
        raise SetupError(f"{template} cannot be used: {str(error).partition(';')[0]}") from error
    return path


def _headline(message: str) -> str:
    """A docstring's first line, without its full stop."""
    headline = message.strip().rstrip(".")
    if not _slug(headline):
        raise InvalidError("a revision needs a message, such as -m 'add x to y'")
    if len(headline) > LONGEST_MESSAGE:
        raise InvalidError(f"the message is a headline: {LONGEST_MESSAGE} characters at most, not {len(headline)}")
    if _UNFIT.search(headline):
        raise InvalidError('the message is one line without " and \\')
    return headline[0].upper() + headline[1:]


def _slug(headline: str) -> str:
    """Its words in a file's name."""
    words = "_".join(re.findall(r"[a-z0-9]+", headline.lower()))
    if len(words) > LONGEST_SLUG:
        words = words[: LONGEST_SLUG + 1].rpartition("_")[0] or words[:LONGEST_SLUG]
    return words


def _next(before: str) -> str:
    """The number after that one; where revisions are not numbered, a name that nobody has."""
    numbered = _NUMBERED.fullmatch(before)
    if numbered is None:
        return str(rev_id())
    digits = numbered["number"]
    return f"{numbered['prefix']}{int(digits) + 1:0{len(digits)}}"
