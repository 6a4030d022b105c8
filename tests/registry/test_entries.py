"""What the pooler is asked to serve follows the roll, in an object that is used for long as well as in a new one."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GOING, GONE, PooledDatabase
from control_plane.registry.tables import DatabaseRow
from control_plane.settings import Settings
from control_plane.stores.secrets import Secrets
from provisioning.pooler.apply import Pooler
from provisioning.pooler.render import PoolerEntry
from tests.registry.roll import Roll

NOWHERE = Path("/nonexistent")
SETTINGS = Settings(
    control_dsn="",
    pooler_host="/nonexistent",
    pooler_port=1,
    pooler_dir=NOWHERE,
    master_key_file=NOWHERE,
    snapshot_file=NOWHERE,
)


class OpenSecrets(Secrets):
    """What the roll has of a password is the password."""

    def __init__(self) -> None: ...

    def open(self, kept: str, owner: UUID) -> str:
        """See SecretStore."""
        return f"{kept} of {owner}"


def change(engine: Engine, statement: str) -> None:
    with transaction(engine) as session:
        session.execute(text(statement))


def pooled(engine: Engine) -> dict[str, PooledDatabase]:
    with transaction(engine) as session:
        return {each.alias: each for each in servers.for_pooler(session)}


def pooled_silo(row: DatabaseRow, other_login: str = "", *passwords: str) -> PooledDatabase:
    sealed, other_sealed = passwords or (None, None)
    return PooledDatabase(row.alias, "beta", Model.SILO, row.name, row.login, other_login, row.id, sealed, other_sealed)


@pytest.mark.parametrize(
    "changed",
    [
        "UPDATE servers SET connections = 6",
        "UPDATE servers SET host = '/elsewhere'",
        "UPDATE servers SET port = 2",
        "UPDATE servers SET host = 'db.example.com'",
        "UPDATE databases SET sealed_password = 'word'",
        "UPDATE databases SET login = 'pool_1_b', sealed_password = 'another'",
        "UPDATE databases SET next_login = 'pool_1_b', next_sealed_password = 'another'",
        "UPDATE databases SET name = 'pool_7'",
        "UPDATE databases SET alias = 'pool_7'",
        "UPDATE databases SET model = 'silo'",
        "UPDATE databases SET state = 'gone'",
        "DELETE FROM databases",
    ],
)
@pytest.mark.parametrize("host", ["/nonexistent", "there.example.com"], ids=["by socket", "by TCP"])
def test_what_was_asked_for_before_is_asked_for_no_more(roll: Roll, host: str, changed: str) -> None:
    change(roll.engine, f"UPDATE servers SET host = '{host}'")
    change(roll.engine, "DELETE FROM targets; DELETE FROM databases WHERE model <> 'pool'")
    lasting = Pooler(SETTINGS, roll.engine, OpenSecrets())
    before = lasting.entries()
    change(roll.engine, changed)
    wanted = Pooler(SETTINGS, roll.engine, OpenSecrets()).entries()
    assert lasting.entries() == wanted
    by_tcp = any(entry.by_tcp for entry in (*before, *wanted))
    assert (wanted != before) == (by_tcp or "sealed_password = 'word'" not in changed)


def test_an_entry_that_is_the_same_is_not_made_anew(roll: Roll) -> None:
    lasting = Pooler(SETTINGS, roll.engine)

    def entries() -> dict[str, PoolerEntry]:
        return {entry.alias: entry for entry in lasting.entries()}

    before = entries()
    with transaction(roll.engine) as session:
        silo = servers.add_silo(session, "beta").alias
    after = entries()
    assert after.keys() == {*before, silo}
    assert all(after[alias] is entry for alias, entry in before.items())
    with transaction(roll.engine) as session:
        servers.add_silo(session, "beta").state = GONE
        session.execute(text("DELETE FROM databases WHERE alias = :alias"), {"alias": silo})
    assert entries().keys() == lasting._made.keys() == before.keys()


def test_each_column_of_a_database_comes_as_it_is(roll: Roll) -> None:
    with transaction(roll.engine) as session:
        plain, changing, going = (servers.add_silo(session, "beta") for _ in range(3))
        changing.next_login, going.state = f"{changing.name}_b", GOING
        changing.sealed_password, changing.next_sealed_password = "one|, two", 'ä "three"\n'
    found = pooled(roll.engine)
    assert found.keys() == {"pool_1", "bridge_1", plain.alias, changing.alias}
    assert found[plain.alias] == pooled_silo(plain)
    assert found[changing.alias] == pooled_silo(changing, f"{changing.name}_b", "one|, two", 'ä "three"\n')


def test_an_empty_roll_asks_for_nothing(engine: Engine) -> None:
    assert pooled(engine) == {}
    assert Pooler(SETTINGS, engine).entries() == []
