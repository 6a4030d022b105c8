"""Versions and settings are judged by their values; what no machine here has is given."""

from __future__ import annotations

import pytest

from provisioning.doctor.parts import judge_files, judge_pooler, judge_redis
from provisioning.doctor.settings import judge

GOOD = {
    "server_version_num": "150020",
    "server_version": "15.20 (Debian 15.20-0+deb12u1)",
    "wal_level": "logical",
    "max_slot_wal_keep_size": "1024",
    "max_connections": "200",
    "superuser_reserved_connections": "3",
    "fsync": "on",
    "full_page_writes": "on",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}


def found(**changed: str) -> list[str]:
    """The checks that speak of a good server with these settings changed."""
    return [finding.check for finding in judge("alpha", GOOD | changed, connections=170)]


def test_a_good_server_has_no_findings() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("number", "checks"),
    [
        ("140099", ["postgres_version"]),
        ("150019", ["postgres_security"]),
        ("150020", []),
        ("160015", ["postgres_security"]),
        ("160016", []),
        ("170011", ["postgres_security"]),
        ("170012", []),
        ("180006", ["postgres_security"]),
        ("180007", []),
        ("190000", []),
    ],
)
def test_versions_of_postgresql(number: str, checks: list[str]) -> None:
    assert found(server_version_num=number) == checks


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("wal_level", "replica", "wal_level"),
        ("max_slot_wal_keep_size", "-1", "slot_wal_unbounded"),
        ("max_connections", "172", "connection_budget"),
        ("fsync", "off", "durability"),
        ("full_page_writes", "off", "durability"),
        ("log_statement", "mod", "log_content"),
        ("log_min_duration_statement", "0", "log_content"),
        ("log_min_error_statement", "error", "log_content"),
        ("log_error_verbosity", "default", "log_content"),
        ("log_parameter_max_length_on_error", "-1", "log_content"),
    ],
)
def test_settings_of_postgresql(setting: str, value: str, check: str) -> None:
    assert found(**{setting: value}) == [check]


def test_the_control_server_need_not_be_fit_for_moves() -> None:
    assert judge("control", GOOD | {"wal_level": "replica", "max_slot_wal_keep_size": "-1"}, connections=None) == []


@pytest.mark.parametrize(
    ("version", "checks"),
    [((1, 17), ["pooler_version"]), ((1, 18), ["pooler_old"]), ((1, 20), ["pooler_old"]), ((1, 21), []), ((2, 0), [])],
)
def test_versions_of_pgbouncer(version: tuple[int, int], checks: list[str]) -> None:
    assert [finding.check for finding in judge_pooler(version)] == checks


@pytest.mark.parametrize(("version", "checks"), [("6.0.16", ["redis_old"]), ("6.2.0", []), ("7.0.15", []), ("8.0", [])])
def test_versions_of_redis(version: str, checks: list[str]) -> None:
    assert [finding.check for finding in judge_redis(version)] == checks


@pytest.mark.parametrize(("limit", "checks"), [(1024, ["pooler_files"]), (2600, []), (65536, []), (None, [])])
def test_files_of_the_pooler(limit: int | None, checks: list[str]) -> None:
    assert [finding.check for finding in judge_files(limit, 2600)] == checks
