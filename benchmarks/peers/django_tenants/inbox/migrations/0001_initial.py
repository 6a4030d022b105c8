"""The inbox: thirteen tables, before anything was added."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Conversation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("subject", models.TextField()),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Label",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("name", models.TextField(unique=True)),
                ("colour", models.TextField()),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("body", models.TextField()),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="inbox.conversation"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Attachment",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("name", models.TextField()),
                ("content_type", models.TextField()),
                ("size_bytes", models.BigIntegerField()),
                ("digest", models.TextField()),
                ("message", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.message")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("email", models.TextField(null=True, unique=True)),
                ("name", models.TextField()),
                ("role", models.TextField()),
                ("kind", models.TextField()),
                ("password_hash", models.TextField(null=True)),
                ("disabled_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["member", "admin", "owner"])), name="user_role_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["person", "service"])), name="user_kind_check"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ticket_nonce", models.UUIDField(null=True, unique=True)),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("user", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("body", models.TextField()),
                (
                    "conversation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.conversation"),
                ),
                ("author", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.AddField(
            model_name="message",
            name="author",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user"),
        ),
        migrations.CreateModel(
            name="Key",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("name", models.TextField()),
                ("secret_hash", models.TextField(unique=True)),
                ("role", models.TextField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("created_by", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("email", models.TextField()),
                ("role", models.TextField()),
                ("token_hash", models.TextField(unique=True)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(null=True)),
                ("invited_by", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("action", models.TextField()),
                ("about", models.UUIDField()),
                ("facts", models.JSONField()),
                ("actor", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
        ),
        migrations.AddField(
            model_name="conversation",
            name="created_by",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user"),
        ),
        migrations.CreateModel(
            name="Labelling",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="inbox.conversation"
                    ),
                ),
                ("label", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.label")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("conversation", "label"), name="labelling_once")],
            },
        ),
        migrations.CreateModel(
            name="Preference",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("name", models.TextField()),
                ("value", models.JSONField()),
                (
                    "user",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to="inbox.user"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("user", "name"), name="preference_once")],
            },
        ),
        migrations.CreateModel(
            name="Participation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("read_at", models.DateTimeField(null=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="inbox.conversation"
                    ),
                ),
                ("user", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="inbox.user")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("conversation", "user"), name="participation_once")],
            },
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(fields=["conversation", "id"], name="message_conversation"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["about", "id"], name="event_about"),
        ),
    ]
