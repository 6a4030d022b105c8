"""Every rule by name, with what is said of whoever breaks it. The names are part of the public surface.

The rules of a home's catalogue have their names and words from whoever looks into it.
"""

from __future__ import annotations

from types import MappingProxyType

from migrations.lint.subject import Rule, Severity

NOT_VALID_FIRST = "NOT VALID here, and VALIDATE CONSTRAINT in the next revision"


def _error(name: str, what: str, remedy: str) -> Rule:
    return Rule(name=name, severity=Severity.ERROR, what=what, remedy=remedy)


def _warning(name: str, what: str, remedy: str) -> Rule:
    return Rule(name=name, severity=Severity.WARNING, what=what, remedy=remedy)


def _by_name(*rules: Rule) -> MappingProxyType[str, Rule]:
    return MappingProxyType({rule.name: rule for rule in rules})


# What squawk finds, under its own names. PostgreSQL itself has the last word on these when it can be watched.
LONG = _by_name(
    _error(
        "require-concurrent-index-creation",
        "an index is built on a table that is in use, and writes to it wait",
        "a revision of its own: `copyhold migrate new --concurrently`",
    ),
    _error(
        "require-concurrent-reindex",
        "an index is built anew, and writes to its table wait",
        "REINDEX … CONCURRENTLY in a revision of its own",
    ),
    _error(
        "adding-field-with-default",
        "the whole table is written anew while nobody may read it: the new column differs from row to row",
        "add the column without a default, then SET DEFAULT for what comes, and fill the rows that are there later",
    ),
    _error(
        "adding-serial-primary-key-field",
        "the whole table is written anew while nobody may read it",
        "the key of a tenant table is (tenant_id, id), made with the table",
    ),
    _error(
        "adding-not-nullable-field",
        "every row is read while nobody may use the table",
        "CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in the next revision, and SET NOT NULL after that: "
        "it believes the constraint",
    ),
    _error(
        "changing-column-type",
        "the whole table may be written anew while nobody may read it",
        "a new column that the app writes beside the old one; the old one goes in a later revision",
    ),
    _error("constraint-missing-not-valid", "every row is read while nobody may use the table", NOT_VALID_FIRST),
    _error("adding-foreign-key-constraint", "every row is looked up while writes to both tables wait", NOT_VALID_FIRST),
    _error(
        "disallowed-unique-constraint",
        "an index is built while nobody may use the table",
        "CREATE UNIQUE INDEX CONCURRENTLY in a revision of its own, then ADD CONSTRAINT … UNIQUE USING INDEX",
    ),
)
REQUIRED_FIELD = _error(
    "adding-required-field",
    "a column that is NOT NULL and has no default: this fails wherever the table has rows",
    "give it a DEFAULT that is the same for all rows, or let it be null until all rows are filled",
)
BRIEF = _by_name(
    REQUIRED_FIELD,
    _warning(
        "require-concurrent-index-deletion",
        "dropping an index waits for everybody who uses the table, and everybody else waits behind it",
        "DROP INDEX CONCURRENTLY IF EXISTS in a revision of its own",
    ),
    _warning(
        "require-concurrent-partition-detach",
        "detaching a partition waits for everybody who uses the table, and everybody else waits behind it",
        "DETACH PARTITION … CONCURRENTLY in a revision of its own",
    ),
    _warning("identifier-too-long", "PostgreSQL cuts names after 63 bytes", "shorten it"),
)
UNREADABLE = _warning(
    "unreadable-statement",
    "this statement cannot be read without a database, and is not looked at",
    "lint without --static: PostgreSQL reads it",
)

# On the module and its text.
UNFINISHED = _error("unfinished", "this was left open by `copyhold migrate new`", "fill it in")
EXPANDS_UNSAID = _error(
    "expands-unsaid",
    "the revision does not say whether app versions that know only the one before go on working",
    "expands = True, or False",
)
EXPAND_BREAKS = _error(
    "expand-breaks",
    "the revision says that older app versions go on working, and takes away what they use",
    "expands = False; run it when no app version that uses this is running any more",
)
DOWNGRADE_LOSES_DATA = _warning(
    "downgrade-loses-data",
    "taking the revision back deletes data, and downgrade does not say what is lost",
    "say in the docstring of downgrade what is lost, or that nothing is; or refuse it with NotImplementedError",
)
MIXED_PHASES = _error(
    "mixed-phases",
    "statements inside of a transaction and outside of one in the same revision: "
    "after a crash between them it is neither done nor undone",
    "a revision for each",
)
NOT_REPEATABLE = _error(
    "not-repeatable",
    "a statement outside of any transaction that fails when it is repeated after a crash",
    "CREATE … IF NOT EXISTS, DROP … IF EXISTS",
)
TRANSACTION_BY_HAND = _error(
    "transaction-by-hand",
    "a transaction is begun or ended by hand: what is done and the version row could come apart",
    "leave it to the run; what cannot be in a transaction goes into op.get_context().autocommit_block()",
)
CONCURRENTLY_INSIDE = _error(
    "concurrently-in-transaction",
    "CONCURRENTLY is not possible in a transaction",
    "with op.get_context().autocommit_block(): …",
)
PYTHON_UNNEEDED = _warning(
    "python-unneeded",
    "the revision says `python` and never asks for its connection: it can neither be shown nor compiled for nothing",
    "take `python = True` away, or use op.get_bind()",
)
QUALIFIED_NAME = _error(
    "qualified-name",
    "a name is qualified with a schema of one kind of target: bridge tenants have another",
    "leave the schema out: every target has its search_path",
)
ACCEPTANCE_UNNEEDED = _warning(
    "acceptance-unneeded", "a rule is accepted that is not broken", "take it out of `accepted`"
)
ACCEPTANCE_UNREASONED = _error(
    "acceptance-unreasoned", "a rule is accepted without a reason", "say why it is right here"
)

# What PostgreSQL does.
FAILS = _error("fails", "the revision fails", "see to what the message says")
LONG_LOCK = _error(
    "long-lock",
    "a whole table is read or written anew while others wait for it",
    "a step of its own that locks less, or none; docs/operations/migrations.md has one for each change",
)
ROWS_REFUSED = _error(
    "rows-refused",
    "the statement reads or changes rows that the policies keep from it: it fails in every home that has rows",
    'op.execute("SET LOCAL ROLE copyhold_migrator") before it and op.execute("SET LOCAL ROLE copyhold_owner") after it',
)
BACKFILL_AT_ONCE = _warning(
    "backfill-at-once",
    "rows of a whole table are changed in one transaction, and stay locked until it ends",
    "change them in small steps: `copyhold migrate new --python`",
)
DOWNGRADE_FAILS = _error("downgrade-fails", "taking the revision back fails", "see to what the message says")
DOWNGRADE_DIFFERS = _error(
    "downgrade-differs",
    "after taking the revision back, the tables are not as they were",
    "undo all of it, or refuse it with NotImplementedError",
)
INDEX_NOT_BY_TENANT = _warning(
    "index-not-by-tenant",
    "an index that does not begin with tenant_id: in a pool it is read past all tenants' rows",
    "tenant_id as its first column",
)
NOT_WATCHED = _warning(
    "not-watched",
    "the revision could not be tried: what it does to the tables is not known",
    "see to what the message says",
)

BREAKING = frozenset(
    {
        "ban-drop-column",
        "ban-drop-table",
        "ban-drop-view",
        "ban-drop-function",
        "ban-drop-type",
        "ban-set-schema",
        "renaming-column",
        "renaming-table",
        "renaming-object",
    }
)
"""squawk's names for what an older app version does not survive."""
LOSING = frozenset({"ban-drop-column", "ban-drop-table"})
"""squawk's names for what deletes data."""
