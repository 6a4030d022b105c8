"""E-mail addresses, wherever they come from: a form, a command, a member of staff."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email

from control_plane.domain.errors import InvalidError

LENGTH_MAX = 254


class EmailError(InvalidError):
    """That is not an e-mail address."""

    code = "email_invalid"


def checked_email(text: str) -> str:
    """`text` in small letters and without surrounding blanks, if mail could be sent there; EmailError if not."""
    email = text.strip().lower()
    if len(email) > LENGTH_MAX or not email.isprintable():
        raise EmailError
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise EmailError(f"that is not an e-mail address: {error}") from error
    return email
