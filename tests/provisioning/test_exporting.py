"""An export: all of one tenant and nothing of another, in one snapshot, whole or not there at all."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Column as Mapped
from sqlalchemy import LargeBinary, MetaData
from sqlalchemy import Table as MappedTable

from control_plane import audit
from control_plane.domain.errors import SetupError
from control_plane.domain.tenant import Model, Status
from control_plane.registry import exports, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ExportRow
from control_plane.registry.workflow_records import FAILED
from control_plane.registry.workflows import EXPORT
from control_plane.tenants import exporting
from control_plane.tenants.closing import ErasingError
from control_plane.tenants.exporting import ExportFolderError, NothingToExportError
from provisioning.due import seeing_to_what_is_due
from provisioning.exports import manifest
from provisioning.exports import write as writing
from provisioning.exports.content import UnknownContentError, content_of
from provisioning.exports.manifest import ExportDamagedError, NoExportError, Summary
from provisioning.exports.tidying import delete_old
from provisioning.exports.write import unfinished
from provisioning.roles import BACKUP
from tenant_app.tables import Base
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.erased import MODELS, close, row_of, with_status, with_things
from tests.provisioning.lives import wait_until_ended
from tests.provisioning.wishes import NoWorkflows
from tests.service_user import as_service_user, killed_as_service_user
from tests.waiting import until

NOBODY = NoWorkflows()
LEFT_OUT = ("sessions", "users.password_hash")


def wanted(tenant: TenantUnderTest, workflows: Any = NOBODY, to: Path | None = None) -> UUID:
    """An export on the roll; without workflows nobody writes it but the test."""
    platform = tenant.platform
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        return exporting.request(session, workflows, platform.settings, row, "tests", to)[0].id


def found(platform: PlatformUnderTest, export_id: UUID) -> ExportRow:
    with transaction(platform.engine) as session:
        return exports.get(session, export_id)


def written(platform: PlatformUnderTest, export_id: UUID) -> Path:
    """Where it is, once it is done."""

    def ended() -> bool:
        row = found(platform, export_id)
        assert row.state != exports.FAILED, row.error
        return row.state == exports.DONE

    until(ended, what="the export is done")
    return Path(str(found(platform, export_id).path))


def lines(folder: Path, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]


@MODELS
def test_all_of_one_tenant_is_written_and_nothing_of_another(platform: PlatformUnderTest, model: Model) -> None:
    tenant, other = with_things(platform, model), with_things(platform, model)
    export_id = wanted(tenant, platform.workflows)
    folder = written(platform, export_id)
    row = found(platform, export_id)
    summary = manifest.verify(folder)
    assert (summary.rows, summary.bytes, summary.sha256) == (row.rows, row.bytes, row.sha256)
    assert (summary.tenant["slug"], summary.model, summary.revision) == (tenant.slug, str(model), "0002")
    assert {file.table for file in summary.files} == {"users", "conversations", "messages"}
    assert summary.left_out == LEFT_OUT
    for table in ("users", "conversations", "messages"):
        with platform.home_of(tenant) as home:
            query = sql.SQL("SELECT to_jsonb(t) - 'password_hash' FROM {} t WHERE tenant_id = %s ORDER BY id")
            there = [each for (each,) in home.execute(query.format(sql.Identifier(table)), [tenant.id])]
        assert there
        assert [without_times(each) for each in lines(folder, table)] == [without_times(each) for each in there]
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(other.id).encode() not in everything
    assert b"argon2" not in everything


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    """The test's connection shows them in another zone."""
    return {key: value for key, value in row.items() if not key.endswith("_at")}


def test_times_are_iso_in_utc_and_ids_text(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    (owner,) = [row for row in lines(written(platform, wanted(tenant, platform.workflows)), "users") if row["email"]]
    assert owner["tenant_id"] == str(tenant.id)
    assert str(owner["created_at"]).endswith("+00:00")
    assert "T" in owner["created_at"]


def test_nobody_else_may_read_it(platform: PlatformUnderTest) -> None:
    folder = written(platform, wanted(platform.tenant("pool"), platform.workflows))
    assert folder.parent == platform.settings.export_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def write_here(tenant: TenantUnderTest, times: int = 1) -> Path:
    """Written by the test's own worker."""
    platform = tenant.platform
    export_id = wanted(tenant)
    as_service_user(platform.data, worker.carry_out, platform.settings, export_id, EXPORT, times)
    return written(platform, export_id)


def test_it_may_be_written_twice(platform: PlatformUnderTest) -> None:
    folder = write_here(platform.tenant("pool"), 2)
    manifest.verify(folder)
    assert [path.name for path in folder.parent.glob(f"*{folder.name}*")] == [folder.name]


@pytest.mark.slow
def test_one_that_was_written_and_not_recorded_is_recorded(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    export_id = wanted(tenant)
    as_service_user(platform.data, worker.carry_out, platform.settings, export_id, EXPORT)
    with transaction(platform.engine) as session:
        row = exports.get(session, export_id, lock=True)
        row.state, row.rows, row.sha256 = exports.RUNNING, None, None
    as_service_user(platform.data, worker.carry_out, platform.settings, export_id, EXPORT)
    folder = written(platform, export_id)
    assert found(platform, export_id).sha256 == manifest.verify(folder).sha256


@pytest.mark.slow
def test_workers_that_are_killed_ever_a_little_later_write_it_in_the_end(platform: PlatformUnderTest) -> None:
    tenant = with_things(platform, Model.BRIDGE)
    export_id = wanted(tenant)
    number, work = 1, worker.carry_out_until_statement
    while killed_as_service_user(platform.data, work, platform.settings, export_id, EXPORT, number):
        number += 3
    folder = written(platform, export_id)
    assert number > 5
    manifest.verify(folder)
    assert [path.name for path in folder.parent.glob(f"*{folder.name}*")] == [folder.name]


def test_all_of_it_is_of_one_moment(platform: PlatformUnderTest) -> None:
    tenant = with_things(platform, Model.BRIDGE)
    with platform.home_of(tenant) as holder, platform.home_of(tenant) as home:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        export_id = wanted(tenant, platform.workflows)
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) AND usename = %s"
        until(
            lambda: home.execute(waits, [holder.info.backend_pid, BACKUP]).rowcount > 0,
            what="conversations are written, and messages waited for",
        )
        home.execute(
            "INSERT INTO users (tenant_id, id, name, role, kind) VALUES (%s, %s, 'Late', 'member', 'service')",
            [tenant.id, uuid4()],
        )
        holder.execute("COMMIT")
    names = {user["name"] for user in lines(written(platform, export_id), "users")}
    assert "Olive Owner" in names
    assert "Late" not in names


@pytest.mark.slow
def test_a_large_one_needs_no_more_memory_than_a_small_one(platform: PlatformUnderTest) -> None:
    small, large = with_things(platform, Model.BRIDGE), with_things(platform, Model.BRIDGE)
    with platform.home_of(large) as home:
        home.execute(
            "INSERT INTO messages SELECT tenant_id, gen_random_uuid(), conversation_id, author_id, repeat('x', 2000)"
            " FROM (SELECT * FROM messages LIMIT 1) AS m, generate_series(1, 60000)"
        )
    needed = {}
    for tenant in (small, large):
        export_id = wanted(tenant)
        needed[tenant.slug] = as_service_user(platform.data, worker.peak_of_writing, platform.settings, export_id)
        assert manifest.verify(written(platform, export_id)).rows > 0
    assert needed[large.slug] < needed[small.slug] + 25_000_000


@pytest.mark.slow
def test_after_its_days_an_export_is_deleted_and_nothing_else(platform: PlatformUnderTest) -> None:
    tenant, handed_over = with_things(platform, Model.POOL), platform.data / f"handed-over-{uuid4().hex}"
    as_service_user(platform.data, os.mkdir, handed_over)
    old, young, half = (wanted(tenant, platform.workflows) for _ in range(3))
    elsewhere = wanted(tenant, platform.workflows, handed_over)
    folders = {each: written(platform, each) for each in (old, young, half, elsewhere)}
    folders[half].rename(unfinished(folders[half]))  # as a worker leaves it that is killed while it deletes
    with transaction(platform.engine) as session:
        for each in (old, half, elsewhere):
            exports.get(session, each, lock=True).ended_at = datetime.now(UTC) - timedelta(days=8)
    delete_old(platform.engine, platform.settings, "tests")
    assert folders[old].exists(), "nobody has said that they go"
    settings = platform.settings.model_copy(update={"export_days": 7})
    with seeing_to_what_is_due(platform.engine, platform.workflows, settings, "tests"):
        until(lambda: found(platform, half).state == exports.DELETED, what="the old ones are deleted")
    assert [found(platform, each).state for each in folders] == ["deleted", "done", "deleted", "done"]
    assert [folders[each].exists() for each in folders] == [False, True, False, True]
    assert not unfinished(folders[half]).exists()
    with transaction(platform.engine) as session:
        done = [row.facts["export"] for row in audit.newest(session, limit=20) if row.action == "tenant.export_deleted"]
    assert set(done) == {str(old), str(half)}
    as_service_user(platform.data, worker.carry_out, platform.settings, old, EXPORT)
    assert not folders[old].exists(), "one that is repeated is not written again"


@pytest.mark.parametrize("status", [Status.PROVISIONING, Status.FAILED, Status.CLOSED])
def test_one_without_a_home_has_nothing_to_export(platform: PlatformUnderTest, status: Status) -> None:
    tenant = platform.tenant("pool")
    with_status(tenant, status)
    try:
        with pytest.raises(NothingToExportError, match=str(status)):
            wanted(tenant)
    finally:
        with_status(tenant, Status.ACTIVE)


@pytest.mark.slow
def test_a_closing_tenant_can_be_exported_until_it_is_erased(platform: PlatformUnderTest) -> None:
    tenant = with_things(platform, Model.POOL)
    close(tenant, NOBODY)
    assert manifest.verify(write_here(tenant)).rows > 0
    early = wanted(tenant)
    close(tenant, NOBODY, grace=timedelta(0))
    with pytest.raises(ErasingError):
        wanted(tenant)
    with pytest.raises(Exception, match="ErasingError"):
        as_service_user(platform.data, worker.carry_out, platform.settings, early, EXPORT)


@pytest.mark.slow
@MODELS
def test_the_last_thing_before_it_is_erased_is_an_export(platform: PlatformUnderTest, model: Model) -> None:
    tenant = with_things(platform, model)
    close(tenant, platform.workflows, grace=timedelta(0), export=True)
    platform.wait_for(tenant.id, Status.CLOSED)
    with transaction(platform.engine) as session:
        (last,) = exports.of_tenant(session, tenant.id, 10)
    assert (last.actor, last.state) == (exports.LAST, exports.DONE)
    folder = Path(str(last.path))
    assert manifest.verify(folder).rows == last.rows
    assert len(lines(folder, "conversations")) == 4


@pytest.mark.slow
def test_without_its_last_export_it_is_not_erased(platform: PlatformUnderTest) -> None:
    tenant = with_things(platform, Model.BRIDGE)
    with platform.home_of(tenant) as home:
        home.execute("CREATE TABLE strange (tenant_id uuid, secret text)")
    close(tenant, platform.workflows, grace=timedelta(0), export=True)
    until(lambda: last_state(tenant) == exports.FAILED, what="the last export has failed")
    assert row_of(tenant).status == Status.CLOSING
    with transaction(platform.engine) as session:
        (last,) = exports.of_tenant(session, tenant.id, 10)
    assert "strange" in str(last.error)
    with platform.home_of(tenant) as home:
        assert home.execute("SELECT count(*) FROM conversations").fetchone() == (4,)
        home.execute("DROP TABLE strange")
    assert wait_until_ended(platform, str(row_of(tenant).workflow_id)) == FAILED
    close(tenant, platform.workflows, grace=timedelta(0), export=True)
    platform.wait_for(tenant.id, Status.CLOSED)
    assert last_state(tenant) == exports.DONE


def last_state(tenant: TenantUnderTest) -> str | None:
    with transaction(tenant.platform.engine) as session:
        found = exports.of_tenant(session, tenant.id, 10)
    return found[0].state if found else None


@pytest.mark.parametrize(
    ("to", "words"), [("/nonexistent", "there is no folder /nonexistent"), ("/proc", "/proc/.*: .*")]
)
def test_a_folder_that_cannot_be_written_is_named(platform: PlatformUnderTest, to: str, words: str) -> None:
    tenant = platform.tenant("pool")
    export_id = wanted(tenant, platform.workflows, Path(to))
    until(lambda: found(platform, export_id).state == exports.FAILED, what="it has failed")
    error = found(platform, export_id).error
    assert error is not None
    assert re.search(words, error)


@pytest.mark.parametrize("to", ["relative/path", "/with\nnewline"])
def test_a_folder_is_named_from_the_root_on(platform: PlatformUnderTest, pool_tenant: TenantUnderTest, to: str) -> None:
    with pytest.raises(ExportFolderError):
        wanted(pool_tenant, to=Path(to))


def test_without_a_folder_it_says_so(platform: PlatformUnderTest, pool_tenant: TenantUnderTest) -> None:
    nowhere = platform.settings.model_copy(update={"export_dir": None})
    with pytest.raises(SetupError, match="--to DIR"), transaction(platform.engine) as session:
        exporting.request(session, NOBODY, nowhere, tenants.get(session, pool_tenant.id), "tests")


@pytest.fixture
def reader(platform: PlatformUnderTest) -> Iterator[psycopg.Connection[Any]]:
    """Who exports, in a schema of these tests' own."""
    schema = f"x{uuid4().hex[:8]}"
    with platform.superuser("alpha", "pool_1") as superuser:
        superuser.execute(f"CREATE SCHEMA {schema}".encode())
        try:
            superuser.execute(f"SET search_path = {schema}".encode())
            yield superuser
        finally:
            superuser.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def schema_of(reader: psycopg.Connection[Any]) -> str:
    row = reader.execute("SELECT current_schema()").fetchone()
    return str(row[0]) if row else ""


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE TABLE tokens (tenant_id uuid, token text)", "tokens"),
        ("CREATE TABLE messages (tenant_id uuid, id uuid, totp_secret text)", "messages.totp_secret"),
    ],
)
def test_what_the_app_does_not_know_may_be_a_secret_and_is_refused(
    reader: psycopg.Connection[Any], made: str, named: str
) -> None:
    reader.execute(made.encode())
    with pytest.raises(UnknownContentError, match=named):
        content_of(reader, schema_of(reader), Base.metadata)


def test_what_an_older_home_lacks_is_no_matter(reader: psycopg.Connection[Any]) -> None:
    reader.execute("CREATE TABLE users (tenant_id uuid, id uuid, password_hash text, PRIMARY KEY (tenant_id, id))")
    content = content_of(reader, schema_of(reader), Base.metadata)
    assert [(table.name, table.key) for table in content.tables] == [("users", ("tenant_id", "id"))]
    assert content.left_out == ("users.password_hash",)


def test_bytes_are_base64_and_a_json_with_lines_is_one_line(platform: PlatformUnderTest, tmp_path: Path) -> None:
    tenant = platform.tenant("bridge")
    content, document = os.urandom(200), '{"a":\n 1,\n "b": "x\\ny"}'
    with platform.home_of(tenant) as home:
        home.execute("CREATE TABLE blobs (tenant_id uuid, id int, content bytea, document json)")
        home.execute("INSERT INTO blobs VALUES (%s, 1, %s, %s)", [tenant.id, content, document])
    metadata = MetaData()
    for table in Base.metadata.tables.values():
        table.to_metadata(metadata)
    MappedTable("blobs", metadata, *(Mapped(name, LargeBinary) for name in ("tenant_id", "id", "content", "document")))
    export_id = wanted(tenant, to=tmp_path)
    estate = replace(platform.estate, app=replace(platform.estate.app, metadata=metadata))  # type: ignore[type-var]
    writing.write(estate, export_id)
    with platform.home_of(tenant) as home:
        home.execute("DROP TABLE blobs")
    (row,) = lines(written(platform, export_id), "blobs")
    assert base64.b64decode(row["content"]) == content
    assert row["document"] == {"a": 1, "b": "x\ny"}


@pytest.fixture
def whole(platform: PlatformUnderTest, tmp_path: Path) -> Path:
    """A copy of an export that these tests may spoil."""
    return Path(shutil.copytree(write_here(with_things(platform, Model.POOL)), tmp_path / "export"))


def flip(folder: Path) -> None:
    content = (folder / "users.jsonl").read_bytes()
    (folder / "users.jsonl").write_bytes(content.replace(b"Olive", b"Alive"))


def cut(folder: Path) -> None:
    with (folder / "messages.jsonl").open("r+b") as file:
        file.truncate(10)


def remove(folder: Path) -> None:
    (folder / "users.jsonl").unlink()


def add(folder: Path) -> None:
    (folder / "more.jsonl").write_text("{}\n")


def link(folder: Path) -> None:
    (folder / "users.jsonl").rename(folder.parent / "elsewhere")
    (folder / "users.jsonl").symlink_to(folder.parent / "elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (flip, "users.jsonl has been changed"),
        (cut, "messages.jsonl has been changed"),
        (remove, "users.jsonl is missing"),
        (add, "more.jsonl is not part of it"),
        (link, "users.jsonl is no file"),
    ],
)
def test_what_is_not_as_the_manifest_says_is_named(whole: Path, spoil: Any, words: str) -> None:
    assert isinstance(manifest.verify(whole), Summary)
    spoil(whole)
    with pytest.raises(ExportDamagedError, match=words):
        manifest.verify(whole)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "files": 3}'])
def test_a_damaged_manifest_is_named(whole: Path, text: str) -> None:
    (whole / "manifest.json").write_text(text)
    with pytest.raises(ExportDamagedError, match=r"manifest\.json is damaged"):
        manifest.verify(whole)


@pytest.mark.slow
def test_a_newer_manifest_and_no_manifest_are_told_apart(whole: Path, tmp_path: Path) -> None:
    (whole / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(NoExportError, match="format 2"):
        manifest.verify(whole)
    with pytest.raises(NoExportError, match="there is no export"):
        manifest.verify(tmp_path / "nowhere")
