"""Where a tenant's words could have been left behind: all logs, Redis, the snapshot, the control database, homes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import redis
from psycopg import sql

from provisioning.layout import CONTROL_DATABASE
from provisioning.roles import SUPERUSER
from tests.isolation.world import TABLES, World
from tests.platform_under_test import PlatformUnderTest

CONTROL_PATHS = ("/metrics", "/healthz", "/readyz", "/openapi.json")


def everything(platform: PlatformUnderTest) -> Iterator[tuple[str, bytes]]:
    """Each place with all that is in it."""
    for folder in (platform.layout.logs, platform.layout.snapshot.parent, platform.layout.pooler):
        for file in sorted(folder.rglob("*")):
            # What is written beside its place, to be put there whole, is gone once it is.
            with suppress(FileNotFoundError):
                if file.is_file():
                    yield f"{folder.name}/{file.name}", file.read_bytes()
    yield "redis", b"\n".join(_redis(platform))
    yield "control database", b"\n".join(_rows(platform))
    for path in CONTROL_PATHS:
        yield f"answer of {path}", platform.control.get(path).content


def found(platform: PlatformUnderTest, marks: Iterable[str]) -> list[str]:
    """Every place that holds one of the marks, and which."""
    wanted = list(marks)
    return [
        f"{place} holds {mark}"
        for place, content in everything(platform)
        for mark in wanted
        if mark.encode() in content or mark.upper().encode() in content
    ]


def strangers(worlds: Iterable[World]) -> list[str]:
    """Rows of one world, anywhere in its home, that hold the canary of another."""
    known = list(worlds)
    wrong = []
    for world in known:
        for table in TABLES:
            query = sql.SQL("SELECT id, {0}::text FROM {0} WHERE tenant_id = %s").format(sql.Identifier(table))
            for row_id, row in world.home.execute(query, [world.id]):
                wrong += [
                    f"{table} {row_id} of {world.tenant.slug} holds the canary of {other.tenant.slug}"
                    for other in known
                    if other is not world and other.canary in row
                ]
    return wrong


def _redis(platform: PlatformUnderTest) -> Iterator[bytes]:
    url = platform.settings.redis_url
    assert url is not None
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            yield key
            yield repr(_value(client, key)).encode()


def _value(client: Any, key: bytes) -> object:
    match client.type(key):
        case b"string":
            return client.get(key)
        case b"hash":
            return client.hgetall(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1)
        case b"stream":
            return client.xrange(key)
        case b"none":
            return None  # It has expired since.
        case other:
            raise AssertionError(f"a Redis value of type {other!r}, which nobody searches")


def _rows(platform: PlatformUnderTest) -> Iterator[bytes]:
    """Every row of every table of the control database, those of the workflow engine too."""
    with psycopg.connect(
        platform.layout.server("control").dsn(database=CONTROL_DATABASE, user=SUPERUSER)
    ) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for table in tables:
            name = sql.Identifier(*table)
            for row in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(name)):
                yield f"{table}: {row[0]}".encode()
