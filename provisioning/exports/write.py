"""Writing an export: one snapshot of the home, a file a table, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import sql
from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane.domain.errors import CopyholdError
from control_plane.domain.server import Server
from control_plane.registry import exports, routes, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ExportRow, TenantRow
from control_plane.tenants.closing import ErasingError, is_erasing
from control_plane.tenants.exporting import NothingToExportError, folder_of
from provisioning.estate import Estate
from provisioning.exports import manifest
from provisioning.exports.content import TENANT_ID, VERSION_TABLE, Content, Table, content_of
from provisioning.exports.manifest import File, Summary
from provisioning.files import sync_folder, write_atomically
from provisioning.roles import BACKUP, Connection, connect

FETCHED = 200
"""Rows in memory at once."""
_SESSION = """
SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET IntervalStyle = iso_8601; SET bytea_output = hex;
SET extra_float_digits = 1; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = 0
"""


class NotWritableError(CopyholdError):
    """The export's folder cannot be written."""

    code = "export_not_writable"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is written where."""

    export_id: UUID
    tenant_id: UUID
    folder: Path
    server: Server
    database: str
    schema: str
    facts: dict[str, Any]
    """Of the manifest, as far as the roll knows them."""

    @property
    def unfinished(self) -> Path:
        """Where it is written before it is whole."""
        return unfinished(self.folder)


def unfinished(folder: Path) -> Path:
    """What an export's folder is called while it is not whole, or not any more."""
    return folder.with_name(f".{folder.name}.unfinished")


def write(estate: Estate, export_id: UUID) -> None:
    """Write an export that was asked for, unless it is there. What was begun and not finished is begun anew.

    NotWritableError for its folder, UnknownContentError, NothingToExportError or ErasingError for what is in it; then
    nothing of it is left.
    """
    with transaction(estate.engine) as session:
        job = _begin(estate, session, export_id)
    if job is None:
        return
    with _explained(job.folder):
        summary = manifest.verify(job.folder) if job.folder.exists() else _write(estate, job)
    with transaction(estate.engine) as session:
        row = exports.get(session, export_id, lock=True)
        row.state, row.error, row.ended_at = exports.DONE, None, func.now()
        row.rows, row.bytes, row.sha256 = summary.rows, summary.bytes, summary.sha256


def _begin(estate: Estate, session: Session, export_id: UUID) -> _Job | None:
    row = exports.get(session, export_id, lock=True)
    if row.state in (exports.DONE, exports.DELETED):
        return None
    tenant = tenants.get(session, row.tenant_id)
    route = routes.route_of(session, tenant.id)
    if route is None or route.home is None:
        raise NothingToExportError(f"{tenant.slug!r} has nothing to export: it is {tenant.status}")
    row.state, row.error, row.ended_at = exports.RUNNING, None, None
    row.path = row.path or str(folder_of(estate.settings, tenant, row))
    database = servers.database(session, route.home.database_id)
    return _Job(
        export_id=row.id,
        tenant_id=tenant.id,
        folder=Path(row.path),
        server=servers.server_named(session, database.server),
        database=database.name,
        schema=route.home.schema,
        facts=_facts(row, tenant),
    )


def _facts(row: ExportRow, tenant: TenantRow) -> dict[str, Any]:
    return {
        "export": str(row.id),
        "tenant": {
            "id": str(tenant.id),
            "slug": tenant.slug,
            "name": tenant.name,
            "plan": tenant.plan,
            "labels": tenant.labels,
            "created_at": tenant.created_at.astimezone(UTC).isoformat(),
        },
        "model": tenant.model,
    }


def _write(estate: Estate, job: _Job) -> Summary:
    if not job.folder.parent.is_dir():
        raise NotWritableError(f"there is no folder {job.folder.parent}")
    shutil.rmtree(job.unfinished, ignore_errors=True)
    job.unfinished.mkdir(mode=0o700)
    try:
        _fill(estate, job)
        summary = manifest.read(job.unfinished)
        sync_folder(job.unfinished)
        job.unfinished.rename(job.folder)
    except BaseException:
        # A full disk above all: what cannot be finished must not fill it any longer.
        shutil.rmtree(job.unfinished, ignore_errors=True)
        raise
    sync_folder(job.folder.parent)
    return summary


def _fill(estate: Estate, job: _Job) -> None:
    with connect(estate.doors.dsn(job.server, job.database, BACKUP)) as connection:
        connection.execute(_SESSION)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            content = content_of(connection, job.schema, estate.app.metadata)
            # Asked when the snapshot has been taken: what is erased from now on is in it still.
            with transaction(estate.engine) as session:
                _refuse_half_erased(session, job)
            files = tuple(_table(connection, job, table) for table in content.tables)
            facts = {**job.facts, **_more_facts(connection, job, content)}
    write_atomically(job.unfinished / manifest.MANIFEST, manifest.as_text(facts, files))


def _refuse_half_erased(session: Session, job: _Job) -> None:
    tenant = tenants.get(session, job.tenant_id)
    if is_erasing(tenant) and exports.get(session, job.export_id).actor != exports.LAST:
        raise ErasingError


def _more_facts(connection: Connection, job: _Job, content: Content) -> dict[str, Any]:
    version = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(job.schema, VERSION_TABLE))
    ((revision,),) = connection.execute(version).fetchall()
    return {
        "revision": revision,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "left_out": list(content.left_out),
    }


def _table(connection: Connection, job: _Job, table: Table) -> File:
    name = f"{table.name}.jsonl"
    digest, rows, size = hashlib.sha256(), 0, 0
    handle = os.open(job.unfinished / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        for line in _lines(connection, job, table):
            digest.update(line)
            file.write(line)
            rows, size = rows + 1, size + len(line)
        file.flush()
        os.fsync(file.fileno())
    return File(name=name, table=table.name, rows=rows, bytes=size, sha256=digest.hexdigest())


def _lines(connection: Connection, job: _Job, table: Table) -> Iterator[bytes]:
    columns = sql.SQL(", ").join(
        (sql.SQL("translate(encode({0}, 'base64'), E'\\n', '') AS {0}") if column.is_bytes else sql.SQL("{0}")).format(
            sql.Identifier(column.name)
        )
        for column in table.columns
    )
    query = sql.SQL("SELECT row_to_json(r)::text FROM (SELECT {} FROM {} WHERE {} = %s ORDER BY {}) AS r").format(
        columns,
        sql.Identifier(job.schema, table.name),
        sql.Identifier(TENANT_ID),
        sql.SQL(", ").join(map(sql.Identifier, table.key or (TENANT_ID,))),
    )
    with connection.cursor(name="export") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(query, [job.tenant_id])
        for (line,) in cursor:
            # A column of type json keeps its line ends; between the parts of a value they are blanks.
            yield line.replace("\n", " ").encode() + b"\n"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritableError(f"{error.filename or folder}: {error.strerror}") from error
