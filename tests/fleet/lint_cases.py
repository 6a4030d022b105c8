"""Each rule of lint: revisions that break it, and others that do the same thing and keep it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fleet.linting import (
    INDEX,
    MIGRATOR,
    NEW_TABLE,
    OF_AUTHOR,
    OWNED,
    OWNER,
    PROTECT,
    PYTHON,
    Module,
    alone,
    contract,
    index,
    sql,
)
from tests.fleet.writing import concurrently, execute


@dataclass(frozen=True)
class Case:
    """A rule: revisions that keep it, and one that comes after them and breaks it."""

    rule: str
    keeps: tuple[Module, ...]
    breaks: Module
    name: str = ""
    unread: bool = False
    """Whether only a database shows it."""


STATEMENTS = (
    Case("require-concurrent-index-creation", (index("rank"),), sql("CREATE INDEX ON notes (tenant_id, other)")),
    Case(
        "require-concurrent-index-deletion",
        (index("rank"), alone("DROP INDEX CONCURRENTLY IF EXISTS notes_rank_idx"), index("other")),
        sql("DROP INDEX notes_other_idx"),
    ),
    Case("require-concurrent-reindex", (alone("REINDEX TABLE CONCURRENTLY notes"),), sql("REINDEX TABLE notes")),
    Case(
        "adding-field-with-default",
        (sql("ALTER TABLE notes ADD COLUMN made_at timestamptz NOT NULL DEFAULT now()"),),
        sql("ALTER TABLE notes ADD COLUMN mark uuid NOT NULL DEFAULT gen_random_uuid()"),
    ),
    Case(
        "adding-required-field",
        (sql("ALTER TABLE notes ADD COLUMN done boolean NOT NULL DEFAULT false"),),
        sql("ALTER TABLE notes ADD COLUMN due date NOT NULL"),
    ),
    Case(
        "adding-required-field",
        (sql("ALTER TABLE notes ADD COLUMN due date"),),
        Module(
            up=f"{OWNED}\nconnection.exec_driver_sql('ALTER TABLE notes ADD COLUMN done boolean NOT NULL')", said=PYTHON
        ),
        name="in Python",
        unread=True,
    ),
    Case(
        "adding-not-nullable-field",
        (
            sql("ALTER TABLE notes ADD CONSTRAINT ranked CHECK (rank IS NOT NULL) NOT VALID"),
            sql("ALTER TABLE notes VALIDATE CONSTRAINT ranked"),
            contract("ALTER TABLE notes ALTER COLUMN rank SET NOT NULL"),
        ),
        contract("ALTER TABLE notes ALTER COLUMN other SET NOT NULL"),
    ),
    Case(
        "changing-column-type",
        (sql("ALTER TABLE notes ALTER COLUMN label TYPE varchar(80)"),),
        sql("ALTER TABLE notes ALTER COLUMN rank TYPE numeric"),
    ),
    Case(
        "constraint-missing-not-valid",
        (
            sql("ALTER TABLE notes ADD CONSTRAINT positive CHECK (rank > 0) NOT VALID"),
            sql("ALTER TABLE notes VALIDATE CONSTRAINT positive"),
        ),
        sql("ALTER TABLE notes ADD CONSTRAINT small CHECK (rank < 100)"),
    ),
    Case(
        "adding-foreign-key-constraint",
        (
            index("author_id"),
            sql(f"ALTER TABLE notes ADD CONSTRAINT author {OF_AUTHOR} NOT VALID"),
            sql(MIGRATOR, "ALTER TABLE notes VALIDATE CONSTRAINT author", OWNER),
        ),
        sql(MIGRATOR, f"ALTER TABLE notes ADD CONSTRAINT again {OF_AUTHOR}", OWNER),
    ),
    Case(
        "disallowed-unique-constraint",
        (
            alone("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_name ON authors (tenant_id, name)"),
            sql("ALTER TABLE authors ADD CONSTRAINT one_name UNIQUE USING INDEX one_name"),
        ),
        sql("ALTER TABLE notes ADD CONSTRAINT one_rank UNIQUE (tenant_id, rank)"),
    ),
    Case("transaction-by-hand", (sql("SELECT 1"),), sql("ROLLBACK")),
    Case(
        "identifier-too-long",
        (sql("ALTER TABLE notes ADD CONSTRAINT positive CHECK (rank > 0) NOT VALID"),),
        sql(f"ALTER TABLE notes ADD CONSTRAINT {'small_' * 12} CHECK (rank < 100) NOT VALID"),
    ),
)
MODULES = (
    Case("expands-unsaid", (contract("SELECT 1"),), sql("SELECT 1", said="")),
    Case(
        "expand-breaks",
        (contract("ALTER TABLE notes DROP COLUMN other"),),
        sql("ALTER TABLE notes DROP COLUMN rank"),
        name="a column",
    ),
    Case(
        "expand-breaks",
        (contract("ALTER TABLE authors RENAME TO writers"),),
        sql("ALTER TABLE notes RENAME TO papers"),
        name="a renamed table",
    ),
    Case(
        "expand-breaks",
        (contract("DO $$ BEGIN ALTER TABLE notes DROP COLUMN other; END $$"),),
        sql("DO $$ BEGIN DROP TABLE notes; END $$"),
        name="in a block",
        unread=True,
    ),
    Case(
        "expand-breaks",
        (
            sql("ALTER TABLE notes ADD CONSTRAINT ranked CHECK (rank IS NOT NULL) NOT VALID"),
            sql("ALTER TABLE notes VALIDATE CONSTRAINT ranked"),
        ),
        sql("ALTER TABLE notes ALTER COLUMN rank SET NOT NULL"),
        name="a column that has to be filled in",
        unread=True,
    ),
    Case(
        "downgrade-loses-data",
        (
            sql(
                "ALTER TABLE notes ADD COLUMN due date",
                down=execute("ALTER TABLE notes DROP COLUMN due"),
                lost="Loses when a note is due.",
            ),
        ),
        sql("ALTER TABLE notes ADD COLUMN seen date", down=execute("ALTER TABLE notes DROP COLUMN seen")),
    ),
    Case(
        "mixed-phases",
        (sql("ALTER TABLE notes ADD COLUMN due date"), index("due")),
        Module(
            up=f"{execute('ALTER TABLE notes ADD COLUMN seen date')}\n"
            f"{concurrently(INDEX.format('CONCURRENTLY', 'seen', 'seen'))}"
        ),
    ),
    Case(
        "not-repeatable",
        (index("rank"),),
        alone("CREATE INDEX CONCURRENTLY notes_other_idx ON notes (tenant_id, other)"),
    ),
    Case("concurrently-in-transaction", (index("rank"),), sql(INDEX.format("CONCURRENTLY", "other", "other"))),
    Case(
        "python-unneeded",
        (Module(up='op.get_bind().exec_driver_sql("SELECT 1")', said=PYTHON),),
        sql("SELECT 1", said=PYTHON),
    ),
    Case(
        "qualified-name",
        (sql("ALTER TABLE notes ADD COLUMN due date /* not of public.notes */"),),
        sql('ALTER TABLE "public".notes ADD COLUMN seen date'),
    ),
    Case(
        "acceptance-unreasoned",
        (
            sql(
                "CREATE INDEX ON notes (tenant_id, rank)",
                said='expands = True\naccepted = {"require-concurrent-index-creation": "it is small"}',
            ),
        ),
        sql(
            "CREATE INDEX ON notes (tenant_id, other)",
            said='expands = True\naccepted = {"require-concurrent-index-creation": " "}',
        ),
    ),
    Case(
        "acceptance-unneeded",
        (sql("SELECT 1", said="expands = True\naccepted = {}"),),
        sql("SELECT 1", said='expands = True\naccepted = {"long-lock": "it is small"}'),
        unread=True,
    ),
)
TRIALS = (
    Case(
        "fails",
        (sql("ALTER TABLE notes ADD COLUMN due date"),),
        sql("ALTER TABLE papers ADD COLUMN due date"),
        unread=True,
    ),
    Case(
        "long-lock",
        (
            sql("ALTER TABLE notes ADD CONSTRAINT positive CHECK (rank > 0) NOT VALID"),
            sql("ALTER TABLE notes VALIDATE CONSTRAINT positive"),
            sql("ALTER TABLE notes ADD CONSTRAINT small CHECK (rank < 100) NOT VALID"),
        ),
        sql(
            "ALTER TABLE notes ADD COLUMN due date",
            "ALTER TABLE notes VALIDATE CONSTRAINT small",
        ),
        name="under the lock of another statement",
        unread=True,
    ),
    Case(
        "long-lock",
        (sql("DO $$ BEGIN ALTER TABLE notes ADD COLUMN due date; END $$"),),
        sql("DO $$ BEGIN CREATE INDEX ON notes (tenant_id, rank); END $$"),
        name="in a block",
        unread=True,
    ),
    Case("long-lock", (sql("SELECT 1"),), sql("ALTER TABLE notes SET UNLOGGED"), name="written anew", unread=True),
    Case("long-lock", (alone("VACUUM notes"),), alone("VACUUM FULL notes"), name="outside", unread=True),
    Case(
        "rows-refused",
        (
            sql(
                MIGRATOR,
                "UPDATE notes SET rank = 1 WHERE (tenant_id, id) = (uuid_nil, uuid_nil)".replace(
                    "uuid_nil", "'00000000-0000-0000-0000-000000000000'"
                ),
                OWNER,
            ),
        ),
        sql("UPDATE notes SET rank = 1"),
        name="changed",
        unread=True,
    ),
    Case(
        "rows-refused",
        (index("author_id"), sql(f"ALTER TABLE notes ADD CONSTRAINT author {OF_AUTHOR} NOT VALID")),
        sql("ALTER TABLE notes VALIDATE CONSTRAINT author"),
        name="looked up",
        unread=True,
    ),
    Case(
        "backfill-at-once",
        (
            Module(
                up="with op.get_context().autocommit_block():\n"
                "    op.get_bind().exec_driver_sql('UPDATE notes SET rank = 1 WHERE rank IS NULL')",
                said=PYTHON,
            ),
        ),
        sql(MIGRATOR, "UPDATE notes SET rank = 1", OWNER),
        unread=True,
    ),
    Case(
        "downgrade-fails",
        (
            sql(
                "ALTER TABLE notes ADD COLUMN due date",
                down=execute("ALTER TABLE notes DROP COLUMN due"),
                lost="Loses when a note is due.",
            ),
        ),
        sql(
            "ALTER TABLE notes ADD COLUMN seen date",
            down=execute("ALTER TABLE notes DROP COLUMN unseen"),
            lost="Loses when a note was seen.",
        ),
        unread=True,
    ),
    Case(
        "downgrade-differs",
        (Module(up=index("rank").up, down=concurrently("DROP INDEX CONCURRENTLY IF EXISTS notes_rank_idx")),),
        sql(
            "ALTER TABLE notes ADD COLUMN due date, ADD COLUMN seen date",
            down=execute("ALTER TABLE notes DROP COLUMN due"),
            lost="Loses when a note is due.",
        ),
        unread=True,
    ),
)
CATALOGUE = (
    Case(
        "tenant-id",
        (sql(NEW_TABLE.format(""), PROTECT),),
        sql("CREATE TABLE marks (id uuid PRIMARY KEY)"),
        unread=True,
    ),
    Case(
        "primary-key",
        (sql(NEW_TABLE.format(""), PROTECT),),
        sql(
            "CREATE TABLE marks (tenant_id uuid NOT NULL, id uuid PRIMARY KEY)",
            "SELECT tenancy.protect('marks')",
        ),
        unread=True,
    ),
    Case(
        "policy-missing",
        (sql(NEW_TABLE.format(""), PROTECT),),
        sql("CREATE TABLE marks (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))"),
        unread=True,
    ),
    Case(
        "policy-extra",
        (sql(NEW_TABLE.format(""), PROTECT),),
        sql(
            "CREATE POLICY more ON tags USING (tenant_id = (SELECT tenancy.current_tenant()))"
            " WITH CHECK (tenant_id = (SELECT tenancy.current_tenant()))"
        ),
        unread=True,
    ),
    Case("rls-not-forced", (sql("SELECT 1"),), sql("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY"), unread=True),
    Case(
        "unique-key",
        (alone("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_name ON authors (tenant_id, name)"),),
        alone("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_rank ON notes (rank)"),
        unread=True,
    ),
    Case(
        "index-not-by-tenant",
        (index("rank"),),
        alone("CREATE INDEX CONCURRENTLY IF NOT EXISTS notes_other_idx ON notes (other, tenant_id)"),
        unread=True,
    ),
    Case(
        "foreign-key",
        (
            sql(
                NEW_TABLE.format("note_id uuid, FOREIGN KEY (tenant_id, note_id) REFERENCES notes (tenant_id, id),"),
                PROTECT,
                "CREATE INDEX ON tags (tenant_id, note_id)",
            ),
        ),
        sql(
            "ALTER TABLE notes ADD CONSTRAINT odd"
            " FOREIGN KEY (id, tenant_id) REFERENCES authors (tenant_id, id) NOT VALID"
        ),
        unread=True,
    ),
    Case(
        "foreign-key-index",
        (index("author_id"), sql(f"ALTER TABLE notes ADD CONSTRAINT author {OF_AUTHOR} NOT VALID")),
        sql(
            NEW_TABLE.format("note_id uuid, FOREIGN KEY (tenant_id, note_id) REFERENCES notes (tenant_id, id),"),
            PROTECT,
        ),
        unread=True,
    ),
    Case(
        "statistics",
        (sql("ALTER TABLE notes ADD COLUMN title text", "SELECT tenancy.conceal('notes')"),),
        sql("ALTER TABLE notes ADD COLUMN hint text"),
        unread=True,
    ),
)
CASES = (*STATEMENTS, *MODULES, *TRIALS, *CATALOGUE)
