"""An inbox of thirteen tables: the platform's own four, and nine that such a product has beside them.

Keys, references, unique columns and indexes are about as many as in the platform's tables, less the tenant_id, which a
schema of one's own makes needless.
"""

from uuid import uuid4

from django.db import models


class Row(models.Model):
    """What every table begins with."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class User(Row):
    """A person or a service."""

    email = models.TextField(null=True, unique=True)
    name = models.TextField()
    role = models.TextField()
    kind = models.TextField()
    password_hash = models.TextField(null=True)
    disabled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=["member", "admin", "owner"]), name="user_role_check"),
            models.CheckConstraint(condition=models.Q(kind__in=["person", "service"]), name="user_kind_check"),
        ]


class Session(Row):
    """A user who has signed in."""

    user = models.ForeignKey(User, models.CASCADE)
    ticket_nonce = models.UUIDField(null=True, unique=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)


class Conversation(Row):
    """Messages under one subject; the benchmark's migration adds when the last one came."""

    subject = models.TextField()
    created_by = models.ForeignKey(User, models.CASCADE)
    last_message_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["-last_message_at", "id"], name="conversation_last_message")]


class Message(Row):
    """What somebody said in a conversation."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, db_index=False)
    author = models.ForeignKey(User, models.CASCADE)
    body = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["conversation", "id"], name="message_conversation")]


class Invitation(Row):
    """A person asked to join."""

    email = models.TextField()
    role = models.TextField()
    invited_by = models.ForeignKey(User, models.CASCADE)
    token_hash = models.TextField(unique=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)


class Key(Row):
    """A key of the API."""

    name = models.TextField()
    created_by = models.ForeignKey(User, models.CASCADE)
    secret_hash = models.TextField(unique=True)
    role = models.TextField()
    revoked_at = models.DateTimeField(null=True)


class Label(Row):
    """A word that conversations are sorted by."""

    name = models.TextField(unique=True)
    colour = models.TextField()


class Labelling(Row):
    """A conversation that has a label."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, db_index=False)
    label = models.ForeignKey(Label, models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "label"], name="labelling_once")]


class Participation(Row):
    """A user in a conversation, and how far they have read."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, db_index=False)
    user = models.ForeignKey(User, models.CASCADE)
    read_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "user"], name="participation_once")]


class Attachment(Row):
    """A file that came with a message."""

    message = models.ForeignKey(Message, models.CASCADE)
    name = models.TextField()
    content_type = models.TextField()
    size_bytes = models.BigIntegerField()
    digest = models.TextField()


class Note(Row):
    """What colleagues tell each other about a conversation."""

    conversation = models.ForeignKey(Conversation, models.CASCADE)
    author = models.ForeignKey(User, models.CASCADE)
    body = models.TextField()


class Preference(Row):
    """One setting of one user."""

    user = models.ForeignKey(User, models.CASCADE, db_index=False)
    name = models.TextField()
    value = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="preference_once")]


class Event(Row):
    """Who did what."""

    actor = models.ForeignKey(User, models.CASCADE)
    action = models.TextField()
    about = models.UUIDField()
    facts = models.JSONField()

    class Meta:
        indexes = [models.Index(fields=["about", "id"], name="event_about")]
