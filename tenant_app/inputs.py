"""What callers send: ids in paths, e-mail addresses, passwords, bodies."""

from __future__ import annotations

import unicodedata
from typing import Annotated
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from control_plane.domain.errors import NotFoundError
from control_plane.domain.ids import parse_id

EMAIL_CHARACTERS_MAX = 254
PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 200


class Input(BaseModel):
    """A body: what it does not declare is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """An answer made from a row: what it does not declare is never shown."""

    model_config = ConfigDict(from_attributes=True)


def canonical_email(text: str) -> str:
    """The one spelling under which an address is kept and looked for."""
    return unicodedata.normalize("NFC", text.strip().lower())


def _known_form(text: str) -> UUID:
    row_id = parse_id(text)
    if row_id is None:
        # What cannot be an id is answered like an id that names nothing.
        raise NotFoundError
    return row_id


def _email(text: str) -> str:
    email = canonical_email(text)
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    return email


def _unicode(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no encoding takes."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be Unicode text without NUL")
    return text


PathId = Annotated[UUID, BeforeValidator(_known_form)]
Email = Annotated[str, Field(max_length=EMAIL_CHARACTERS_MAX), AfterValidator(_email)]
AnyEmail = Annotated[
    str, Field(max_length=EMAIL_CHARACTERS_MAX), AfterValidator(_unicode), AfterValidator(canonical_email)
]
"""An address to look for; whether it could be one does not matter."""
NewPassword = Annotated[
    str,
    Field(min_length=PASSWORD_CHARACTERS_MIN, max_length=PASSWORD_CHARACTERS_MAX),
    AfterValidator(_unicode),
]
AnyPassword = Annotated[str, Field(min_length=1, max_length=PASSWORD_CHARACTERS_MAX), AfterValidator(_unicode)]
