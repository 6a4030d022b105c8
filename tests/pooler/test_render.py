"""The pooler's files are a pure function of the roll, and nothing on the roll can say more in them than it may.

`python -m tests.pooler.test_render` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.pooler.render import FILES, PoolerEntry, PoolerPlace, UnwritableEntryError, render, without_secrets

GOLDEN = Path(__file__).parent / "golden"
PLACE = PoolerPlace(
    folder=Path("/srv/ch/pgbouncer"), sockets="/srv/ch/run", port=6432, version=(1, 24), authorities="PEM\n"
)
OLD_PLACE = PoolerPlace(folder=PLACE.folder, sockets=PLACE.sockets, port=PLACE.port, version=(1, 18))
# Of the settings that we write, those that PgBouncer 1.18 did not know; it does not start with any of them.
NEWER_SETTINGS = {"max_prepared_statements"}


def entry(alias: str, **other: Any) -> PoolerEntry:
    """A database at the pooler; login and database are named like it."""
    facts = {"host": "/srv/ch/run", "port": 6002, "database": alias, "login": alias, "pool_size": 5, **other}
    return PoolerEntry(alias=alias, **facts)


SAMPLE = (
    entry("pool_1", pool_size=40),
    entry("bridge_1", pool_size=40),
    entry(
        "silo_01932c07a0de7cc2a6f45cc4f0d8e1b2",
        port=6003,
        pool_size=8,
        other_login="silo_01932c07a0de7cc2a6f45cc4f0d8e1b2_b",
    ),
    entry("far", host="db-1.example.com", port=5432, secret="SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"),
)
names = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True).filter(lambda name: name != "pgbouncer")
entries = st.lists(
    st.builds(
        entry,
        names,
        host=st.from_regex(r"[A-Za-z0-9./_:+@-]{1,40}", fullmatch=True),
        port=st.integers(1, 65535),
        pool_size=st.integers(1, 100),
        secret=st.text(st.characters(exclude_characters='"', exclude_categories=("Cc", "Cs"))),
    ),
    unique_by=lambda each: each.alias,
)


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_as_they_have_been_agreed(name: str) -> None:
    assert render(PLACE, SAMPLE)[name] == (GOLDEN / name).read_text()


@given(st.data(), entries)
def test_the_order_in_which_the_roll_is_read_makes_no_difference(
    data: st.DataObject, wanted: list[PoolerEntry]
) -> None:
    assert render(PLACE, data.draw(st.permutations(wanted))) == render(PLACE, wanted)


@given(entries)
def test_every_entry_says_what_it_says_and_nothing_else(wanted: list[PoolerEntry]) -> None:
    files = render(PLACE, wanted)
    parser = configparser.RawConfigParser(delimiters="=", comment_prefixes=";", strict=True)
    parser.read_string(files["databases.ini"])
    assert parser.sections() == ["databases"]
    assert dict(parser["databases"]) == {
        each.alias: f"host={each.host} port={each.port} dbname={each.database} pool_size={each.pool_size}"
        f" max_db_connections={each.pool_size}"
        for each in wanted
    }
    logins = [f'"{each.login}" "{each.secret}"' for each in sorted(wanted, key=lambda each: each.alias)]
    assert files["userlist.txt"].split("\n") == [*logins, ""]
    by_tcp = any(not each.host.startswith("/") for each in wanted)
    assert files["pgbouncer.ini"] == render(PLACE, [entry("far", host="db")] if by_tcp else [])["pgbouncer.ini"]


@pytest.mark.parametrize("field", ["alias", "database", "login"])
@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "1a",
        "a b",
        "a\n",
        "a\nb = host=evil",
        'a"',
        "a;b",
        "a=b",
        "a-b",
        "*",
        "ä",
        "a" * 64,
        "%include",
        "pgbouncer",
    ],
)
def test_a_name_that_says_more_than_a_name_is_refused(field: str, name: str) -> None:
    with pytest.raises(UnwritableEntryError):
        PoolerEntry(**{**vars(entry("pool_1")), field: name})


@pytest.mark.parametrize("host", ["", "a b", "a\n", "a host=b", "a;b", "a'b", "a,b", "h" * 256, "ä"])
def test_an_address_that_says_more_than_an_address_is_refused(host: str) -> None:
    with pytest.raises(UnwritableEntryError):
        entry("pool_1", host=host)


@pytest.mark.parametrize("secret", ['a"', "a\nb", '" "other', "a\0b", "a\rb"])
def test_a_secret_that_ends_its_line_or_quotes_is_refused(secret: str) -> None:
    with pytest.raises(UnwritableEntryError):
        entry("pool_1", secret=secret)


def test_a_refusal_tells_no_secret() -> None:
    with pytest.raises(UnwritableEntryError) as refused:
        entry("pool_1", secret='hush"')
    assert "hush" not in str(refused.value)
    assert "hush" not in repr(entry("pool_1", secret="hush"))


def test_a_list_of_logins_that_is_shown_has_no_secret_in_it() -> None:
    there = render(PLACE, [entry("a", secret="first"), entry("b", secret="same"), entry("c")])["userlist.txt"]
    wanted = render(PLACE, [entry("a", secret="other"), entry("b", secret="same"), entry("c")])["userlist.txt"]
    assert without_secrets(there) == '"a" "***"\n"b" "***"\n"c" ""\n'
    assert without_secrets(wanted, there) == '"a" "*** (another)"\n"b" "***"\n"c" ""\n'


def test_an_older_pooler_is_told_nothing_that_it_does_not_know() -> None:
    assert settings(render(OLD_PLACE, SAMPLE)["pgbouncer.ini"]).isdisjoint(NEWER_SETTINGS)
    assert settings(render(PLACE, SAMPLE)["pgbouncer.ini"]) >= NEWER_SETTINGS
    assert render(OLD_PLACE, SAMPLE)["databases.ini"] == render(PLACE, SAMPLE)["databases.ini"]


@pytest.mark.parametrize("version", [(1, 21), (1, 25), (2, 0)])
def test_versions_are_compared_as_numbers(version: tuple[int, int]) -> None:
    place = PoolerPlace(folder=PLACE.folder, sockets=PLACE.sockets, port=PLACE.port, version=version)
    assert render(place, [])["pgbouncer.ini"] == render(PLACE, [])["pgbouncer.ini"]


def settings(text: str) -> set[str]:
    """The names of the settings in a file."""
    return set(re.findall(r"^(\w+) =", text, re.MULTILINE))


if __name__ == "__main__":
    for file, content in render(PLACE, SAMPLE).items():
        (GOLDEN / file).write_text(content)
