"""Text as it may come in: bounded, printable where it is a line, and never with NUL bytes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from control_plane.emails import EmailError, checked_email


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("only printable characters")
    return text


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("no NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("no lone surrogates") from error
    if not text.strip():
        raise ValueError("not blank")
    return text


def _mailable(text: str) -> str:
    try:
        return checked_email(text)
    except EmailError as error:
        raise ValueError(error.message) from error


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    AfterValidator(_without_nul),
]
"""A name or subject: 1 to 200 printable characters."""

Body = Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_without_nul)]
"""A message: 1 to 20,000 characters, line breaks included."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=3, max_length=254),
    AfterValidator(_printable),
]
"""What somebody says is their e-mail address, in small letters: for looking up, not for keeping."""

Address = Annotated[Email, AfterValidator(_mailable)]
"""An e-mail address in small letters that mail could be sent to."""

Password = Annotated[str, Field(min_length=10, max_length=200), AfterValidator(_without_nul)]
"""10 to 200 characters; never answered, logged or kept."""
