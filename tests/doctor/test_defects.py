"""Each thing that can go wrong is planted alone, and is found: it, and nothing else."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from control_plane.doors import SOCKETS
from provisioning.databases import context_pads
from provisioning.doctor import catalogue, compare, homes, parts, servers, settings
from provisioning.doctor.findings import Check
from tests.doctor.defects import FUNCTIONS, HARMLESS, IN_SQL, NOBODY, Defect
from tests.doctor.patient import CONTROL, Patient, as_owner
from tests.waiting import until

FOUND_ELSEWHERE = {
    "control_down", "pooler_down", "redis_down", "template_open", "template_key", "key_copied", "key_wrong",
    "key_missing", "access_rules", "pooler_files", "log_content", "durability", "slot_wal_unbounded",
    "key_older", "catalogue_open", "check_refused",
}  # fmt: skip
"""What is planted below by other means than statements; an older key, in tests/provisioning/test_rekeying.py; where the
administrator is no superuser, in tests/servers/test_life_there.py.
"""
JUDGED_BY_VALUES = {"postgres_version", "postgres_security", "wal_level", "pooler_version", "pooler_old", "redis_old"}
"""What no machine here has; tests/doctor/test_parts.py gives the values."""
MODULES: tuple[ModuleType, ...] = (catalogue, compare, homes, parts, servers, settings)


@contextmanager
def ill(patient: Patient, defect: Defect) -> Iterator[None]:
    """The platform with the defect."""
    patient.do(defect.place, defect.harm)
    try:
        yield
    finally:
        patient.do(defect.place, defect.cure)


@contextmanager
def functions_kept(patient: Patient, place: str) -> Iterator[None]:
    """The functions of the tenancy schema as they are now stand there again afterwards."""
    with patient.connection(place) as connection:
        query = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'tenancy'::regnamespace"
        definitions = [definition for (definition,) in connection.execute(query)]
        yield
        for definition in definitions:
            connection.execute(definition)


def test_a_healthy_platform_has_no_findings(patient: Patient) -> None:
    assert patient.findings() == ()


@pytest.mark.slow
@pytest.mark.parametrize("defect", IN_SQL, ids=lambda defect: defect.name)
def test_a_defect_is_found_and_nothing_else(patient: Patient, defect: Defect) -> None:
    with functions_kept(patient, defect.place if defect in FUNCTIONS else "pool"), ill(patient, defect):
        found = patient.findings()
    assert {finding.check for finding in found} == defect.finds, found


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
def test_what_is_harmless_is_not_found(patient: Patient, change: Defect) -> None:
    with ill(patient, change):
        assert patient.findings() == ()


def test_every_check_is_triggered_by_a_defect() -> None:
    of_python = {value.name for module in MODULES for value in vars(module).values() if isinstance(value, Check)}
    of_sql = {each.check.name for each in catalogue.catalogue().checks}
    planted = {check for defect in IN_SQL for check in defect.finds} | FOUND_ELSEWHERE
    assert of_sql - planted == set()
    assert of_sql | of_python == planted | JUDGED_BY_VALUES


def test_every_check_and_defect_has_a_name_of_its_own() -> None:
    for names in ([each.check.name for each in catalogue.catalogue().checks], [each.name for each in IN_SQL]):
        assert all(one != other for one, other in pairwise(sorted(names)))


def test_a_finding_says_where_it_is(patient: Patient) -> None:
    words = patient.words("bridge")
    patient.do("bridge", ["ALTER TABLE messages NO FORCE ROW LEVEL SECURITY"])
    [finding] = patient.findings()
    patient.do("bridge", ["ALTER TABLE messages FORCE ROW LEVEL SECURITY"])
    table = f"{words['schema']}.messages"
    assert (finding.server, finding.database, finding.object) == ("alpha", words["login"], table)
    assert finding.remedy == f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"


def test_of_a_slot_that_is_nobodys_it_is_told_how_much_it_keeps(patient: Patient) -> None:
    patient.do("beta", ["SELECT pg_create_physical_replication_slot('standby', true)"])
    try:
        patient.do("beta", ["SELECT pg_logical_emit_message(false, 'tests', repeat('x', 100000))"])
        [finding] = patient.findings()
    finally:
        patient.do("beta", ["SELECT pg_drop_replication_slot('standby')"])
    assert (finding.server, finding.object) == ("beta", "standby")
    assert re.search(r"nobody reads it, it keeps \d+ [kM]B$", finding.what)
    assert finding.remedy.endswith("SELECT pg_drop_replication_slot('standby')")


def test_a_slot_that_somebody_reads_is_not_found(patient: Patient) -> None:
    patient.do("beta", ["SELECT pg_create_logical_replication_slot('analyst', 'pgoutput')"])
    dsn = SOCKETS.dsn(patient.platform.server("beta"), "postgres", "postgres")
    active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'analyst'"
    reads = b"START_REPLICATION SLOT analyst LOGICAL 0/0 (proto_version '1', publication_names 'none')"
    try:
        with closing(psycopg.connect(dsn, autocommit=True, replication="database")) as reader:
            reader.pgconn.send_query(reads)
            until(lambda: _column(patient, "beta", active) == [True], what="the slot is read")
            assert patient.findings() == ()
        until(lambda: _column(patient, "beta", active) == [False], what="the slot is read no more")
    finally:
        patient.do("beta", ["SELECT pg_drop_replication_slot('analyst')"])


def test_a_copied_key_is_found(patient: Patient) -> None:
    with keys(patient, silo=pads_of(patient, "other silo")):
        assert patient.checks() == {"key_copied"}


def test_a_key_of_nobody_in_two_databases_is_found_as_copied(patient: Patient) -> None:
    with keys(patient, silo=context_pads(b"x" * 32), other_silo=context_pads(b"x" * 32)):
        assert [finding.check for finding in patient.findings()] == ["key_copied", "key_copied"]


def test_a_key_that_is_not_of_the_master_key_is_found(patient: Patient) -> None:
    with keys(patient, silo=context_pads(b"x" * 32)):
        assert patient.checks() == {"key_wrong"}


def test_a_missing_key_is_found(patient: Patient) -> None:
    with keys(patient, silo=None):
        assert patient.checks() == {"key_missing"}


def test_findings_hold_no_key(patient: Patient) -> None:
    inner, _ = pads_of(patient, "other silo")
    with keys(patient, silo=pads_of(patient, "other silo")):
        [finding] = patient.findings()
    assert inner.hex() not in str(finding)


def test_an_open_template_with_a_key_is_found(patient: Patient) -> None:
    [template] = _column(patient, "beta", "SELECT datname FROM pg_database WHERE datname LIKE 'template\\_%'")
    patient.do("beta", [f"ALTER DATABASE {template} ALLOW_CONNECTIONS true"])
    try:
        assert patient.checks() == {"template_open"}
        with patient.platform.superuser("beta", str(template)) as inside:
            inside.execute("INSERT INTO tenancy.keys VALUES (true, %s, %s)", context_pads(b"x" * 32))
            assert patient.checks() == {"template_open", "template_key"}
            inside.execute("DELETE FROM tenancy.keys")
    finally:
        patient.do("beta", [f"ALTER DATABASE {template} ALLOW_CONNECTIONS false"])


def test_a_home_left_behind_open_is_found_and_a_closed_one_is_not(patient: Patient) -> None:
    home = (
        "INSERT INTO homes (id, tenant_id, database_id, schema, model, state)"
        f" VALUES ('{NOBODY}', '{{tenant_silo}}', '{{database_pool}}', 'public', 'pool', 'left')"
    )
    fence = "INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{tenant_silo}', 1, 'open')"
    patient.do(CONTROL, [home])
    patient.do("pool", [fence])
    try:
        assert patient.checks() == {"fence_state"}
        patient.do("pool", ["UPDATE tenancy.fences SET state = 'closed' WHERE tenant_id = '{tenant_silo}'"])
        assert patient.findings() == ()
    finally:
        patient.do("pool", ["DELETE FROM tenancy.fences WHERE tenant_id = '{tenant_silo}'"])
        patient.do(CONTROL, [f"DELETE FROM homes WHERE id = '{NOBODY}'"])


def test_access_without_a_proof_is_found(patient: Patient) -> None:
    file = patient.platform.layout.servers / "alpha" / "pg_hba.conf"
    written = file.read_text()
    for line in ("local all all trust", "host all copyhold_backup 127.0.0.1/32 trust", "no such line"):
        file.write_text(f"{written}{line}\n")
        try:
            assert patient.checks() == {"access_rules"}, line
        finally:
            file.write_text(written)


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("log_statement", "all", "log_content"),
        ("log_min_error_statement", "error", "log_content"),
        ("full_page_writes", "off", "durability"),
        ("max_slot_wal_keep_size", "-1", "slot_wal_unbounded"),
    ],
)
def test_a_setting_that_endangers_is_found(patient: Patient, setting: str, value: str, check: str) -> None:
    before = _setting(patient, setting)
    _set(patient, f"ALTER SYSTEM SET {setting} = '{value}'")
    until(lambda: _setting(patient, setting) == value, what=f"{setting} is {value}")
    try:
        assert patient.checks() == {check}
    finally:
        _set(patient, f"ALTER SYSTEM RESET {setting}")
        until(lambda: _setting(patient, setting) == before, what=f"{setting} is {before}")


def test_a_hand_edit_of_the_poolers_files_is_found(patient: Patient) -> None:
    file = patient.platform.layout.pooler / "databases.ini"
    written = file.read_text()
    file.write_text(written.replace("pool_size=", "pool_size=1"))
    try:
        [finding] = patient.findings()
        assert (finding.check, finding.object) == ("pooler_drift", "databases.ini")
    finally:
        file.write_text(written)


def test_a_pooler_that_may_open_too_few_files_is_found(patient: Patient) -> None:
    process = _pid_behind(patient)
    before = int(re.findall(r"Max open files +(\d+)", Path(f"/proc/{process}/limits").read_text())[0])
    _limit_files(patient, process, 1024)
    try:
        assert patient.checks() == {"pooler_files"}
    finally:
        _limit_files(patient, process, before)


def test_parts_that_are_down_are_found(patient: Patient) -> None:
    assert patient.checks(patient.with_settings(redis_url="unix:///nowhere/redis.sock")) == {"redis_down"}
    assert patient.checks(patient.with_settings(pooler_port=6999)) == {"pooler_down"}


def test_with_the_control_database_down_the_rest_is_still_looked_at(patient: Patient) -> None:
    with patient.without_control() as estate:
        assert patient.checks(estate) == {"control_down"}


def test_work_in_flight_is_not_a_difference(patient: Patient) -> None:
    """Between two looks one tenant's fence follows its status, and another's goes ahead of it."""

    def go_on() -> None:
        patient.do("silo", ["UPDATE tenancy.fences SET state = 'open'"])
        patient.do("other silo", ["UPDATE tenancy.fences SET state = 'suspended'"])

    patient.do("silo", ["UPDATE tenancy.fences SET state = 'suspended'"])
    try:
        assert patient.findings(meanwhile=go_on) == ()
    finally:
        patient.do("other silo", ["UPDATE tenancy.fences SET state = 'open'"])


def test_after_all_that_the_platform_is_healthy(patient: Patient) -> None:
    assert patient.findings() == ()


Pads = tuple[bytes, bytes]


def pads_of(patient: Patient, place: str) -> Pads:
    with patient.connection(place) as connection:
        row = connection.execute("SELECT inner_pad, outer_pad FROM tenancy.keys").fetchone()
        assert row is not None
        return row[0], row[1]


@contextmanager
def keys(patient: Patient, **wanted: Pads | None) -> Iterator[None]:
    """The platform with these keys in the homes of these names, none for None."""
    before = {name: pads_of(patient, name.replace("_", " ")) for name in wanted}
    for name, pads in wanted.items():
        _put_key(patient, name, pads)
    try:
        yield
    finally:
        for name, pads in before.items():
            _put_key(patient, name, pads)


def _put_key(patient: Patient, name: str, pads: Pads | None) -> None:
    with patient.connection(name.replace("_", " ")) as connection:
        connection.execute("DELETE FROM tenancy.keys")
        if pads is not None:
            connection.execute("INSERT INTO tenancy.keys VALUES (true, %s, %s)", pads)


def _set(patient: Patient, statement: str) -> None:
    patient.do("alpha", [statement, "SELECT pg_reload_conf()"])


def _setting(patient: Patient, name: str) -> object:
    [value] = _column(patient, "alpha", f"SELECT setting FROM pg_settings WHERE name = '{name}'")
    return value


def _column(patient: Patient, place: str, query: str) -> list[object]:
    with patient.connection(place) as connection:
        return [value for (value,) in connection.execute(query.encode())]


def _limit_files(patient: Patient, process: int, soft: int) -> None:
    """In a process of the owner's: in a container, root may not do this to others."""
    owner = patient.platform.data.stat()
    user, group = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else (None, None)
    subprocess.run(["prlimit", f"--pid={process}", f"--nofile={soft}:"], check=True, user=user, group=group)


def _pid_behind(patient: Patient) -> int:
    told = patient.platform.settings
    with (
        as_owner(patient.platform.data),
        psycopg.connect(
            host=told.pooler_host, port=told.pooler_port, user="pgbouncer", dbname="pgbouncer", autocommit=True
        ) as console,
        socket.socket(fileno=socket.dup(console.fileno())) as wire,
    ):
        process: int = struct.unpack("3i", wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return process
