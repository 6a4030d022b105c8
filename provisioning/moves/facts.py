"""Asking a home and its server what a move has to know before it begins. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from control_plane.domain.server import Server
from control_plane.registry import fleet
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TargetRow
from provisioning.building import Place
from provisioning.duty import give_way
from provisioning.estate import Estate
from provisioning.moves.copying import Size, sizes
from provisioning.moves.errors import UnmovableError, at_source, at_target
from provisioning.moves.obstacles import Kind, Obstacle, obstacles, server_obstacles
from provisioning.moves.places import source_of
from provisioning.moves.preconditions import Facts
from provisioning.moves.tables import tables_of
from provisioning.moves.trips import seen_from_aside
from provisioning.roles import Connection

_OLDEST = """
SELECT a.pid, a.usename, a.datname, coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float
  FROM pg_stat_activity a
 WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
 ORDER BY a.xact_start LIMIT 1
"""
NOBODY = (None, 0.0)
_UNINDEXED = """
SELECT c.conname FROM pg_constraint c
 WHERE c.contype = 'f' AND c.connamespace = %s::text::regnamespace AND c.conparentid = 0
   AND NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = c.conrelid AND i.indisvalid
                      AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
 ORDER BY c.conname
"""


def gather(estate: Estate, source: Place, tenant_id: UUID, target: Server | None) -> Facts:
    """All of it, every row of the tenant counted; of a target that is not known nothing is in the way. psycopg.Error,
    SourceGoneError or TargetGoneError when a server does not answer.
    """
    with transaction(estate.engine) as session:
        wanted = fleet.wanted(session)
        row = session.get(TargetRow, (source.database.id, source.home.schema))
    with estate.builder(source.server).admin(source.database.name) as admin:
        writer, writer_s = _oldest(admin)
        quoted = admin.execute("SELECT quote_ident(%s)", [source.home.schema]).fetchone()
        unindexed = admin.execute(_UNINDEXED, quoted).fetchall()
        version = admin.info.server_version
    of_target, there = _of_target(estate, source, target) if target is not None else ([], NOBODY)
    with source_of(seen_from_aside(estate, source)) as mover, at_source(mover):
        found = obstacles(mover)
        unmovable, tables = _unmovable(estate, source, mover), None
        if unmovable is None and not any(each.kind is Kind.ROWS for each in found):
            tables = _by_table(estate, source, mover, tenant_id)
    return Facts(
        server=source.server.name,
        version=version,
        obstacles=tuple(found),
        target=target.name if target is not None else None,
        target_obstacles=tuple(of_target),
        target_writer=there[0],
        target_writer_s=there[1],
        size=_total(tables) if tables is not None else None,
        tables=tables or {},
        oldest_writer=writer,
        oldest_writer_s=writer_s,
        revisions=(source.database.home_revision, row.revision if row is not None else None),
        wanted=(wanted.home, wanted.tenant),
        unmovable=unmovable,
        unindexed=tuple(name for (name,) in unindexed),
    )


def _of_target(estate: Estate, source: Place, target: Server) -> tuple[list[Obstacle], tuple[str | None, float]]:
    """Its database may have to be made first: only what is true of the whole server is asked."""
    with at_target(), estate.builder(target).admin() as admin:
        return server_obstacles(admin), _oldest(admin) if target.name != source.server.name else NOBODY


def _oldest(admin: Connection) -> tuple[str | None, float]:
    row = admin.execute(_OLDEST).fetchone()
    return (f"process {row[0]} of {row[1]} in {row[2]}, for {row[3]:.0f} s", row[3]) if row else NOBODY


def _unmovable(estate: Estate, source: Place, mover: Connection) -> str | None:
    try:
        tables_of(mover, source.home.schema, estate.app.metadata)
    except UnmovableError as error:
        return error.message
    return None


def _by_table(estate: Estate, source: Place, mover: Connection, tenant_id: UUID) -> dict[str, Size]:
    tables = tables_of(mover, source.home.schema, estate.app.metadata)
    give_way(mover)
    found = sizes(mover, source.home.schema, tables, tenant_id)
    filled = [(name, size) for name, size in found.items() if size.rows]
    return dict(sorted(filled, key=lambda each: -each[1].bytes))


def _total(tables: Mapping[str, Size]) -> Size:
    return Size(rows=sum(each.rows for each in tables.values()), bytes=sum(each.bytes for each in tables.values()))
