"""The inbox's tables at the chain's newest revision; a test holds them and `migrations/tenant` together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from control_plane.routing.scope import TenantScoped

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


def now_utc() -> datetime:
    """This moment by the clock that the ids are made by, so that times and ids tell one story."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """A table of one tenant's rows."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {str: Text, datetime: DateTime(timezone=True), UUID: Uuid}
    # An insert must not ask for columns that an older revision lacks, which fetching server defaults would do.
    __mapper_args__: Any = {"eager_defaults": False}


def _belongs_to(table: str, column: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"])


class User(TenantScoped, Base):
    """A person, or the service user that an API key acts as (its id is the key's)."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("tenant_id", "email"),
        CheckConstraint("""email = lower(email COLLATE "C") AND char_length(email) BETWEEN 3 AND 320""", "email"),
        CheckConstraint("char_length(name) BETWEEN 1 AND 200", "name"),
        CheckConstraint("role IN ('member', 'admin', 'owner')", "role"),
        CheckConstraint("kind IN ('person', 'service')", "kind"),
        CheckConstraint("email IS NOT NULL OR kind = 'service'", "person"),
    )

    email: Mapped[str | None]
    """In small letters; none for service users."""
    name: Mapped[str]
    role: Mapped[str]
    kind: Mapped[str]
    password_hash: Mapped[str | None] = mapped_column(info={"export": False})
    """An argon2id PHC string; none for those who cannot sign in by password."""
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now_utc, server_default=func.now())


class UserSession(TenantScoped, Base):
    """One sign-in of a person; a cookie names it."""

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "ticket_nonce"),
        _belongs_to("users", "user_id"),
        Index(None, "tenant_id", "user_id", "id"),
        {"info": {"export": False}},
    )

    user_id: Mapped[UUID]
    ticket_nonce: Mapped[UUID | None]
    """Of the ticket that was turned into this session: no ticket is good for two."""
    created_at: Mapped[datetime] = mapped_column(default=now_utc, server_default=func.now())
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Conversation(TenantScoped, Base):
    """A thread of messages about one subject."""

    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint("char_length(subject) BETWEEN 1 AND 200", "subject"),
        _belongs_to("users", "created_by"),
        Index(None, "tenant_id", "created_by"),
        Index("conversations_tenant_id_last_message_at_id_idx", "tenant_id", text("last_message_at DESC"), "id"),
    )

    subject: Mapped[str]
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(default=now_utc, server_default=func.now())
    last_message_at: Mapped[datetime] = mapped_column(server_default=func.now(), deferred=True)
    """Since 0002; this version neither reads nor writes it, and so works without it too."""


class Message(TenantScoped, Base):
    """Something said in a conversation."""

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("char_length(body) BETWEEN 1 AND 20000", "body"),
        _belongs_to("conversations", "conversation_id"),
        _belongs_to("users", "author_id"),
        Index(None, "tenant_id", "conversation_id", "id"),
        Index(None, "tenant_id", "author_id"),
    )

    conversation_id: Mapped[UUID]
    author_id: Mapped[UUID]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now_utc, server_default=func.now())
