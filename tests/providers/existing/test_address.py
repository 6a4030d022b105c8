"""The address of a server, as somebody writes it."""

from __future__ import annotations

import pytest

from provisioning.providers.existing.address import Address, AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "admin"),
    [
        ("db.example.com:5433/keeper", "db.example.com", 5433, "keeper"),
        ("db.example.com/keeper", "db.example.com", 5432, "keeper"),
        ("[::1]:5433/keeper", "::1", 5433, "keeper"),
        ("postgresql://keeper@db.example.com:5433", "db.example.com", 5433, "keeper"),
        ("postgres://keeper@db.example.com/postgres", "db.example.com", 5432, "keeper"),
    ],
)
def test_it_is_understood(text: str, host: str, port: int, admin: str) -> None:
    assert parse_address(text) == Address(host=host, port=port, admin=admin)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://keeper:hunter2@db.example.com",
        "postgresql://keeper@db.example.com?password=hunter2",
        "keeper:hunter2@db.example.com:5432",
        "keeper:hunter2@db.example.com/keeper",
        "host=db.example.com password=hunter2",
    ],
)
def test_a_password_in_it_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(text)
    assert "hunter2" not in str(refused.value)


def test_whoever_gives_a_password_in_a_url_is_told_how_to_give_it() -> None:
    with pytest.raises(AddressError, match=r"--password-file.*COPYHOLD_ADMIN_PASSWORD"):
        parse_address("postgresql://keeper:hunter2@db.example.com")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db.example.com:5432",
        "/run/postgresql/keeper",
        "db:0/keeper",
        "db:x/keeper",
        "db:99999/k",
        "http://k@db",
        "d b/k",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)
