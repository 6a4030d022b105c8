"""What a target is held against is built as homes are, once for everybody, and nothing of its building is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import Engine

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.doors import SOCKETS
from control_plane.registry.engine import control_engine
from control_plane.registry.fleet import Revisions
from migrations.fleet import references
from migrations.fleet.chains import CONTROL, HOME, tenant_chain
from migrations.fleet.references import NoReferenceError, References
from migrations.fleet.replay import bring_to
from migrations.fleet.shapes import objects, sums
from provisioning.databases import Builder
from provisioning.roles import MIGRATOR, SUPERUSER, connect
from tests.fleet.writing import chain, execute, write_revision

pytestmark = pytest.mark.slow

TENANT = tenant_chain("migrations:tenant")
NEWEST = Revisions(home=HOME.head, tenant=TENANT.head)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(cluster: Server) -> Server:
    """The server on which all of this is built."""
    return cluster


@pytest.fixture(scope="module")
def control(server: Server) -> Iterator[Engine]:
    """A control database."""
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
        admin.execute("CREATE DATABASE control_of_references")
    dsn = SOCKETS.dsn(server, "control_of_references", SUPERUSER)
    bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
    engine = control_engine(dsn, timeout_s=10)
    yield engine
    engine.dispose()


@pytest.fixture
def builder(server: Server) -> Builder:
    """What builds homes there."""
    return Builder(server=server, tenant_chain=TENANT, doors=SOCKETS)


@dataclass
class Furnisher:
    """Builds scratch databases, and says how often."""

    builder: Builder
    built: list[Revisions] = field(default_factory=list)

    def __call__(self, server: Server, database: str, revisions: Revisions) -> None:
        """As the platform does."""
        self.built.append(revisions)
        self.builder.build_shared(database, revisions, with_tables=True)


@dataclass
class Plainly:
    """Builds scratch databases with the tenancy schema and nothing in it, or fails."""

    fails: bool = False
    built: int = 0

    def __call__(self, server: Server, database: str, revisions: Revisions) -> None:
        """Both schemas, at whatever revisions."""
        self.built += 1
        with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {0}; ").format(sql.Identifier(database)))
            admin.execute(sql.SQL("CREATE ROLE {0}").format(sql.Identifier(database)))
        with connect(SOCKETS.dsn(server, database, SUPERUSER)) as admin:
            admin.execute("CREATE SCHEMA tenancy")
            if self.fails:
                admin.execute("SELECT 1 / 0")


def leftovers(server: Server) -> set[str]:
    """Databases and logins of references."""
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
        found = admin.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles").fetchall()
    return {name for (name,) in found if name.startswith("reference_")}


def test_a_reference_is_what_a_home_is(server: Server, control: Engine, builder: Builder) -> None:
    name = f"pool_of_references_{next(_numbers)}"
    builder.build_shared(name, NEWEST, with_tables=True)
    held = References(control, TENANT, Furnisher(builder), SOCKETS)
    with connect(SOCKETS.dsn(server, name, MIGRATOR)) as connection:
        there, parts = sums(connection, ["public", "tenancy"]), objects(connection, ["public", "tenancy"])
    for kind, schema in (("tenant", "public"), ("home", "tenancy")):
        reference = held.at(server, kind, NEWEST)
        assert (reference.sum, dict(reference.parts)) == (there[schema], parts[schema])
    assert leftovers(server) == set()


def test_a_reference_is_built_once_for_everybody(server: Server, control: Engine, tmp_path: Path) -> None:
    written = chain(tmp_path / "chain", execute("SELECT 'once'"), execute("SELECT 2"))
    furnish = Plainly()
    one = References(control, written, furnish, SOCKETS)
    revisions = Revisions(home=HOME.head, tenant="0001")
    first = one.at(server, "tenant", revisions)
    assert one.at(server, "tenant", revisions) is first
    assert References(control, written, furnish, SOCKETS).at(server, "tenant", revisions) == first
    assert furnish.built == 1
    one.at(server, "tenant", Revisions(home=HOME.head, tenant="0002"))
    assert furnish.built == 2


def test_a_revision_that_was_rewritten_is_built_anew(server: Server, control: Engine, tmp_path: Path) -> None:
    furnish = Plainly()
    for number, body in enumerate((execute("SELECT 'so'"), execute("SELECT 'or so'"))):
        written = chain(tmp_path / f"chain{number}", body)
        References(control, written, furnish, SOCKETS).at(server, "tenant", Revisions(home=HOME.head, tenant="0001"))
    assert furnish.built == 2


def test_so_is_one_in_python(server: Server, control: Engine, tmp_path: Path) -> None:
    furnish = Plainly()
    for number, body in enumerate(("assert 1 < 2", "assert 2 < 3")):
        folder = tmp_path / f"chain{number}"
        chain(folder, execute("SELECT 1"))
        write_revision(folder, "0002", "0001", body)
        file = folder / "versions" / "0002.py"
        file.write_text(file.read_text() + "\n\npython = True\n")
        held = References(control, tenant_chain(str(folder)), furnish, SOCKETS)
        held.at(server, "tenant", Revisions(home=HOME.head, tenant="0002"))
    assert furnish.built == 2


def test_a_reference_that_cannot_be_built_says_why_and_leaves_nothing(
    server: Server, control: Engine, tmp_path: Path
) -> None:
    furnish = Plainly(fails=True)
    held = References(control, chain(tmp_path / "chain", execute("SELECT 'never'")), furnish, SOCKETS)
    for _ in range(2):
        with pytest.raises(NoReferenceError, match=f"{HOME.head} and 0001 on tests can be built: a value"):
            held.at(server, "tenant", Revisions(home=HOME.head, tenant="0001"))
    assert furnish.built == 1
    assert leftovers(server) == set()


def test_what_a_killed_builder_left_is_dropped_and_what_another_builds_is_not(server: Server) -> None:
    for name in ("reference_dead", "reference_alive"):
        Plainly()(server, name, NEWEST)
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as alive:
        alive.execute(references._LOCK, ["reference_alive", references.LOCKS])
        with references._scratch_database(SOCKETS, server) as name:
            assert leftovers(server) == {"reference_alive"}
            Plainly()(server, name, NEWEST)
            assert leftovers(server) == {"reference_alive", name}
        assert leftovers(server) == {"reference_alive"}
    with references._scratch_database(SOCKETS, server):
        assert leftovers(server) == set()


def test_what_a_revision_touches_is_named(server: Server, control: Engine, builder: Builder) -> None:
    held = References(control, TENANT, Furnisher(builder), SOCKETS)
    added = [
        ("column", "conversations", "last_message_at"),
        ("index", "conversations", "conversations_tenant_id_last_message_at_id_idx"),
    ]
    for before, after, present in (("0001", "0002", True), ("0002", "0001", False)):
        found = held.touched(server, "tenant", before, after)
        assert [(each.kind, each.table, each.name) for each in found] == added
        assert {each.present for each in found} == {present}
    everything = held.touched(server, "tenant", None, "0001")
    assert {each.name for each in everything if each.kind == "table"} == {
        "users", "sessions", "conversations", "messages",
    }  # fmt: skip
    assert {each.kind for each in everything} == {"table", "column", "constraint", "index", "policy"}
    assert held.touched(server, "home", None, HOME.head)
