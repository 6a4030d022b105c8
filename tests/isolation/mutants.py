"""Defects, one at a time: which layer each is in, how it is made and undone, and whose eyes must see it.

The table is the claim; `test_mutants` holds every line of it, in both directions: the checks that are named turn red,
and no other does, for the other layers hold.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from control_plane.domain.route import Role
from tests.isolation import layers
from tests.isolation.world import World

POLICY = "(tenant_id = (SELECT tenancy.current_tenant()))"


class Layer(enum.StrEnum):
    """What keeps tenants apart."""

    POLICY = "row-level security"
    ROLES = "the login's lack of rights"
    KEYS = "keys that include the tenant"
    ORM = "the ORM's criteria and default"
    CONTEXT = "the signed context"
    DOOR = "who is at the door"


class Check(enum.StrEnum):
    """What looks for defects."""

    GUARD = "the guard refuses the home, at start and at a first visit"
    WHOLE = "the matrix, all layers as they are"
    DATABASE = "the matrix, without the ORM's criteria"
    ORM = "the matrix, without row-level security"
    STATEMENTS = "every statement says whose rows it means"
    NO_CONTEXT = "the login sees nothing before it has entered"
    OWNER = "the owner of the tables sees nothing"
    WRITING = "nobody writes rows of another tenant"


class Red(enum.StrEnum):
    """How a check turns red."""

    LEAK = "one tenant reaches another"
    CLOSED = "nobody reaches another, but an owner does not reach what is theirs either"
    TOLD = "the defect is told"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A pool with two tenants, to make defects in."""

    me: World
    them: World

    @property
    def home(self) -> layers.Admin:
        """A superuser's connection to the pool."""
        return self.them.home

    @property
    def login(self) -> str:
        """The app's login there."""
        home = self.them.tenant.route.home
        assert home is not None
        return home.login

    def sql(self, do: str, undo: str) -> AbstractContextManager[None]:
        """A change of the pool; {login} is the app's login."""
        return layers.changed(self.home, do.format(login=self.login), undo.format(login=self.login))


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One defect."""

    layer: Layer
    make: Callable[[Ground], AbstractContextManager[None]]
    red: Mapping[Check, Red]


@contextmanager
def _neither_layer(ground: Ground) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(layers.no_row_security(ground.home))
        stack.enter_context(layers.orm(criteria=False, default=True))
        yield


def _everybody_may(_ground: Ground) -> AbstractContextManager[None]:
    return patch.object(Role, "allows", lambda self, wanted: True)


LEAK, CLOSED, TOLD = Red.LEAK, Red.CLOSED, Red.TOLD
EVERY_MATRIX = {Check.WHOLE: LEAK, Check.DATABASE: LEAK, Check.ORM: LEAK}
UNPROTECTED = {Check.GUARD: TOLD, Check.DATABASE: LEAK, Check.NO_CONTEXT: LEAK, Check.WRITING: LEAK}

MUTANTS: Mapping[str, Mutant] = {
    "a policy is dropped": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: ground.sql(
            "DROP POLICY tenant_only ON messages",
            f"CREATE POLICY tenant_only ON messages USING {POLICY} WITH CHECK {POLICY}",
        ),
        # Without any policy nobody sees a row: the table is closed, even to its tenants, and no context is asked for.
        red={Check.GUARD: TOLD, Check.WHOLE: CLOSED, Check.DATABASE: CLOSED, Check.NO_CONTEXT: TOLD},
    ),
    "a policy is weakened": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: ground.sql(
            "ALTER POLICY tenant_only ON messages USING (true) WITH CHECK (true)",
            f"ALTER POLICY tenant_only ON messages USING {POLICY} WITH CHECK {POLICY}",
        ),
        red={**UNPROTECTED, Check.OWNER: LEAK},
    ),
    "a policy is weakened for writing alone": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: ground.sql(
            "ALTER POLICY tenant_only ON messages WITH CHECK (true)",
            f"ALTER POLICY tenant_only ON messages WITH CHECK {POLICY}",
        ),
        red={Check.GUARD: TOLD, Check.WRITING: LEAK},
    ),
    "another policy is put beside it": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: ground.sql(
            "CREATE POLICY everybody ON messages USING (true)", "DROP POLICY everybody ON messages"
        ),
        red={**UNPROTECTED, Check.OWNER: LEAK},
    ),
    "row-level security is switched off": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: layers.no_row_security(ground.home, "messages"),
        red={**UNPROTECTED, Check.OWNER: LEAK},
    ),
    "it is not forced upon the owner": Mutant(
        layer=Layer.POLICY,
        make=lambda ground: ground.sql(
            "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY", "ALTER TABLE messages FORCE ROW LEVEL SECURITY"
        ),
        red={Check.GUARD: TOLD, Check.OWNER: LEAK},
    ),
    "the login may bypass it": Mutant(
        layer=Layer.ROLES,
        make=lambda ground: ground.sql('ALTER ROLE "{login}" BYPASSRLS', 'ALTER ROLE "{login}" NOBYPASSRLS'),
        red=UNPROTECTED,
    ),
    "the login is a superuser": Mutant(
        layer=Layer.ROLES,
        make=lambda ground: ground.sql('ALTER ROLE "{login}" SUPERUSER', 'ALTER ROLE "{login}" NOSUPERUSER'),
        red=UNPROTECTED,
    ),
    "the login is a member of the owner": Mutant(
        layer=Layer.ROLES,
        make=lambda ground: ground.sql('GRANT copyhold_owner TO "{login}"', 'REVOKE copyhold_owner FROM "{login}"'),
        red={Check.GUARD: TOLD},
    ),
    "a reference does not include the tenant": Mutant(
        layer=Layer.KEYS,
        make=lambda ground: ground.sql(
            "ALTER TABLE messages DROP CONSTRAINT messages_tenant_id_conversation_id_fkey",
            "DELETE FROM messages WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = conversation_id);"
            " DELETE FROM messages m USING conversations c"
            " WHERE c.id = m.conversation_id AND c.tenant_id <> m.tenant_id;"
            " ALTER TABLE messages ADD CONSTRAINT messages_tenant_id_conversation_id_fkey"
            " FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id)",
        ),
        red=EVERY_MATRIX,
    ),
    "something is unique among all tenants": Mutant(
        layer=Layer.KEYS,
        make=lambda ground: ground.sql(
            "CREATE UNIQUE INDEX everybodys_email ON users (email)", "DROP INDEX everybodys_email"
        ),
        red=EVERY_MATRIX,
    ),
    "the ORM adds no criteria": Mutant(
        layer=Layer.ORM,
        make=lambda _ground: layers.orm(criteria=False, default=True),
        red={Check.STATEMENTS: TOLD, Check.ORM: LEAK},
    ),
    "the ORM gives new rows no tenant": Mutant(
        layer=Layer.ORM,
        make=lambda _ground: layers.orm(criteria=True, default=False),
        red={Check.STATEMENTS: TOLD, Check.WHOLE: CLOSED, Check.ORM: CLOSED},
    ),
    "the ORM gives new rows to another tenant": Mutant(
        layer=Layer.ORM,
        make=lambda ground: layers.orm_giving_rows_to(ground.me.id),
        # Given a default that works, the ORM itself refuses a row that is another tenant's already.
        red={Check.STATEMENTS: TOLD, Check.WHOLE: CLOSED, Check.DATABASE: CLOSED, Check.ORM: LEAK},
    ),
    "`enter` is skipped": Mutant(
        layer=Layer.CONTEXT,
        make=lambda _ground: layers.no_enter(),
        # The policy raises: no row is ever visible, not even the tenant's own.
        red={Check.WHOLE: CLOSED, Check.DATABASE: CLOSED, Check.STATEMENTS: TOLD},
    ),
    "everybody is let in as one tenant": Mutant(
        layer=Layer.CONTEXT,
        make=lambda ground: layers.tokens_for(ground.them.id),
        # Where both layers look, they see no row in common.
        red={Check.WHOLE: CLOSED, Check.DATABASE: LEAK, Check.STATEMENTS: TOLD, Check.WRITING: LEAK},
    ),
    "a key is good at any host": Mutant(
        layer=Layer.DOOR, make=lambda _ground: layers.keys_good_at_any_host(), red=EVERY_MATRIX
    ),
    "everybody may everything": Mutant(layer=Layer.DOOR, make=_everybody_may, red=EVERY_MATRIX),
    "neither the policy nor the ORM is there": Mutant(
        layer=Layer.POLICY,
        make=_neither_layer,
        red={**UNPROTECTED, **EVERY_MATRIX, Check.OWNER: LEAK, Check.STATEMENTS: TOLD},
    ),
}
