"""What a tenant is: its words, its slug, its plan."""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from control_plane.domain.errors import InvalidError


class Model(enum.StrEnum):
    """How a tenant is housed."""

    POOL = "pool"
    BRIDGE = "bridge"
    SILO = "silo"


class Plan(enum.StrEnum):
    """What a tenant pays for."""

    STARTER = "starter"
    PROFESSIONAL = "professional"
    ENTERPRISE = "enterprise"


class Status(enum.StrEnum):
    """Where a tenant is in its life; `lifecycle.set_status` is the only door between them."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    MOVING = "moving"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


_RESERVED = """
admin api app assets auth billing blog cdn console control copyhold dashboard docs ftp help host imap localhost login
mail metrics ns1 ns2 pool pop root signup smtp staff static status support test webhooks webmail www
"""
RESERVED_SLUGS = frozenset(_RESERVED.split())
SLUG_LENGTH_MAX = 40
_SLUG = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){1,38}[a-z0-9]")


class SlugError(InvalidError):
    """A slug is 3 to 40 small letters, digits and single hyphens; it starts with a letter."""

    code = "slug_invalid"


class ReservedSlugError(InvalidError):
    """That slug is reserved for the platform."""

    code = "slug_reserved"


class UnknownPlanError(InvalidError):
    """There is no such plan; choose starter, professional or enterprise."""

    code = "plan_unknown"


class UnknownModelError(InvalidError):
    """There is no such model; choose pool, bridge or silo."""

    code = "model_unknown"


def checked_slug(text: str) -> str:
    """`text` as a slug, or SlugError / ReservedSlugError. A slug is a DNS label, so no punycode prefix."""
    if not _SLUG.fullmatch(text) or text.startswith("xn-"):
        raise SlugError(slug=text)
    if text in RESERVED_SLUGS:
        raise ReservedSlugError(slug=text)
    return text


def slug_of(name: str) -> str:
    """A slug made from a company's name, still to be checked: 'Ärzte & Co' becomes 'arzte-co'."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH_MAX].strip("-")


def checked_name(text: str) -> str:
    """A company's or person's name without surrounding blanks: 1 to 200 printable characters, or InvalidError."""
    name = " ".join(text.split())
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise InvalidError("a name is 1 to 200 printable characters", name=name[:200])
    return name


def parse_plan(text: str) -> Plan:
    """The plan of that name, or UnknownPlanError."""
    try:
        return Plan(text)
    except ValueError as error:
        raise UnknownPlanError(plan=text) from error


def parse_model(text: str) -> Model:
    """The model of that name, or UnknownModelError."""
    try:
        return Model(text)
    except ValueError as error:
        raise UnknownModelError(model=text) from error


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """One customer as the roll knows it."""

    id: UUID
    slug: str
    name: str
    plan: Plan
    model: Model
    status: Status
    created_at: datetime
    failure: str | None = None
