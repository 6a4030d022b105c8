"""The inbox: users, sessions, conversations, messages.

Every table is told apart by tenant_id first: in its key, in what is unique, in each reference and in each index.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

expands = True

USERS = """
CREATE TABLE users (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    email text,
    name text NOT NULL,
    role text NOT NULL,
    kind text NOT NULL,
    password_hash text,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_id_email_key UNIQUE (tenant_id, email),
    CONSTRAINT users_email_check CHECK (email = lower(email COLLATE "C") AND char_length(email) BETWEEN 3 AND 320),
    CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT users_role_check CHECK (role IN ('member', 'admin', 'owner')),
    CONSTRAINT users_kind_check CHECK (kind IN ('person', 'service')),
    CONSTRAINT users_person_check CHECK (email IS NOT NULL OR kind = 'service')
)
"""

SESSIONS = """
CREATE TABLE sessions (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    ticket_nonce uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT sessions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT sessions_tenant_id_ticket_nonce_key UNIQUE (tenant_id, ticket_nonce),
    CONSTRAINT sessions_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
)
"""

CONVERSATIONS = """
CREATE TABLE conversations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    subject text NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT conversations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversations_subject_check CHECK (char_length(subject) BETWEEN 1 AND 200),
    CONSTRAINT conversations_tenant_id_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
)
"""

MESSAGES = """
CREATE TABLE messages (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    author_id uuid NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT messages_body_check CHECK (char_length(body) BETWEEN 1 AND 20000),
    CONSTRAINT messages_tenant_id_conversation_id_fkey
        FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT messages_tenant_id_author_id_fkey FOREIGN KEY (tenant_id, author_id) REFERENCES users (tenant_id, id)
)
"""

INDEXES = (
    "CREATE INDEX sessions_tenant_id_user_id_id_idx ON sessions (tenant_id, user_id, id)",
    "CREATE INDEX conversations_tenant_id_created_by_idx ON conversations (tenant_id, created_by)",
    "CREATE INDEX messages_tenant_id_conversation_id_id_idx ON messages (tenant_id, conversation_id, id)",
    "CREATE INDEX messages_tenant_id_author_id_idx ON messages (tenant_id, author_id)",
)


def upgrade() -> None:
    """Build the tables, then have each protected."""
    for statement in (USERS, SESSIONS, CONVERSATIONS, MESSAGES, *INDEXES):
        op.execute(statement)
    for table in ("users", "sessions", "conversations", "messages"):
        op.execute(f"SELECT tenancy.protect('{table}')")


def downgrade() -> None:
    """Never: it would delete all that a tenant has."""
    raise NotImplementedError("the first tables cannot be taken back without losing everything in them")
