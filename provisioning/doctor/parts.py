"""Looking at the parts beside the homes' servers: the control database, the pooler, Redis, our own processes."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path
from typing import Any, cast

import psycopg
import redis
from sqlalchemy import Engine, text

from control_plane.domain.errors import CopyholdError
from control_plane.registry import processes
from control_plane.registry.engine import ControlDatabaseError, transaction
from control_plane.settings import Settings
from migrations.fleet.chains import CONTROL
from provisioning.doctor.catalogue import in_words
from provisioning.doctor.findings import Check, Finding, Severity
from provisioning.doctor.settings import SETTINGS, judge
from provisioning.pooler.apply import Pooler
from provisioning.pooler.errors import PoolerDownError

CONTROL_SERVER = "control"
PROBE_TIMEOUT_S = 3
FILES_TO_SPARE = 100
"""Beyond connections: its log, its listeners, its files while it reads them."""

CONTROL_DOWN = Check(
    "control_down",
    Severity.ERROR,
    "the control database does not answer: nothing can be changed, and nothing on the roll was looked at",
    "start it (`copyhold up`), or see whether COPYHOLD_CONTROL_DSN is right; then look again",
)
CONTROL_REVISION = Check(
    "control_revision",
    Severity.ERROR,
    "the control database is not at the revision of this Copyhold",
    "`copyhold up` brings an older one up to date; for a newer one use the version that made it",
)
POOLER_DOWN = Check(
    "pooler_down", Severity.ERROR, "the pooler does not answer: no tenant is served", "start it (`copyhold up`)"
)
POOLER_VERSION = Check(
    "pooler_version", Severity.ERROR, "PgBouncer is older than 1.18", "./run setup installs or builds a newer one"
)
POOLER_OLD = Check(
    "pooler_old",
    Severity.WARNING,
    "PgBouncer is older than 1.21: it keeps no prepared statements in transaction mode",
    "./run setup builds a newer one; then start the platform anew",
)
POOLER_FILES = Check(
    "pooler_files",
    Severity.WARNING,
    "the pooler may open too few files: near the limit it stops accepting, without a word",
    "raise the limit where it is started (ulimit -n 65536, LimitNOFILE=), and start it anew",
)
POOLER_DRIFT = Check(
    "pooler_drift",
    Severity.ERROR,
    "the pooler and the roll differ",
    "`copyhold pooler diff` shows how, `copyhold pooler apply` makes it as the roll asks",
)
REDIS_DOWN = Check(
    "redis_down",
    Severity.ERROR,
    "Redis does not answer: API processes hear nothing of each other, rate limits hold in each alone",
    "start it (`copyhold up`), or see whether COPYHOLD_REDIS_URL is right",
)
PROCESS_VERSIONS = Check(
    "process_versions",
    Severity.WARNING,
    "processes of different versions are running",
    "end the change of version: replace those of the older one; until then `copyhold migrate up` takes nothing away"
    " that they need",
)
REDIS_OLD = Check("redis_old", Severity.WARNING, "Redis is older than 6.2", "install a version that is still mended")


def look_at_control(engine: Engine) -> list[Finding]:
    """The control database's server, and its own chain's revision."""
    try:
        with transaction(engine) as session:
            query = text("SELECT name, setting FROM pg_settings WHERE name = ANY (:names)")
            there: dict[str, str] = dict(row for row in session.execute(query, {"names": list(SETTINGS)}))
            revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except ControlDatabaseError:
        return [CONTROL_DOWN.finding(server=CONTROL_SERVER)]
    found = judge(CONTROL_SERVER, there, connections=None)
    if revision != CONTROL.head:
        detail = f"it is at {revision}, this is {CONTROL.head}"
        found.append(CONTROL_REVISION.finding(server=CONTROL_SERVER, detail=detail))
    return found


def look_at_processes(engine: Engine) -> list[Finding]:
    """Whether all living processes run the same code; nothing when the control database is down, another finding."""
    try:
        with transaction(engine) as session:
            living = processes.living(session)
    except ControlDatabaseError:
        return []
    if len({process.code_version for process in living}) < 2:
        return []
    each = (f"{process.kind} {process.place} is {process.code_version}" for process in living)
    return [PROCESS_VERSIONS.finding(detail=", ".join(each))]


def look_at_pooler(pooler: Pooler, settings: Settings) -> list[Finding]:
    """Whether the pooler runs, in a fit version, with files enough."""
    try:
        found = judge_pooler(pooler.version())
        return found + judge_files(_file_limit(settings), _files_needed(settings))
    except PoolerDownError as error:
        return [POOLER_DOWN.finding(detail=in_words(error.__cause__ or error))]
    except psycopg.Error as error:
        return [POOLER_DOWN.finding(detail=in_words(error))]


def pooler_drift(pooler: Pooler) -> list[Finding]:
    """Where files, running pooler and roll differ; nothing when the pooler is down, which is another finding."""
    try:
        drift = pooler.diff()
    except PoolerDownError:
        return []
    except CopyholdError as error:
        return [POOLER_DRIFT.finding(detail=error.message)]
    return [
        *(
            POOLER_DRIFT.finding(object=file, detail="the file is not as it would be written now")
            for file, diff in drift.files.items()
            if diff
        ),
        *(POOLER_DRIFT.finding(object=alias, detail="not served as it should be") for alias in drift.missing),
        *(POOLER_DRIFT.finding(object=alias, detail="served, and not on the roll") for alias in drift.extra),
        *(POOLER_DRIFT.finding(object=name, detail="set otherwise than in its file") for name in drift.settings),
    ]


def look_at_redis(url: str | None) -> list[Finding]:
    """Whether Redis answers, where there is one."""
    if url is None:
        return []
    try:
        with redis.Redis.from_url(
            url, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S
        ) as client:
            info = cast(dict[str, Any], client.info("server"))
    except redis.RedisError as error:
        return [REDIS_DOWN.finding(detail=in_words(error))]
    return judge_redis(str(info["redis_version"]))


def judge_pooler(version: tuple[int, int]) -> list[Finding]:
    """Whether a PgBouncer of that version will do."""
    detail = "it is " + ".".join(map(str, version))
    if version < (1, 18):
        return [POOLER_VERSION.finding(detail=detail)]
    return [POOLER_OLD.finding(detail=detail)] if version < (1, 21) else []


def judge_redis(version: str) -> list[Finding]:
    """Whether a Redis of that version will do."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return [REDIS_OLD.finding(detail=f"it is {version}")] if (major, minor) < (6, 2) else []


def judge_files(limit: int | None, needed: int) -> list[Finding]:
    """Whether so many files are enough; a limit that cannot be seen from here is."""
    if limit is None or limit >= needed:
        return []
    return [POOLER_FILES.finding(detail=f"{limit}, where {needed} may be needed")]


def _files_needed(settings: Settings) -> int:
    """Every client and every server connection that the pooler's own configuration allows."""
    with _console(settings) as console:
        clients = next(int(row[1]) for row in console.execute("SHOW CONFIG") if row[0] == "max_client_conn")
        cursor = console.execute("SHOW DATABASES")
        column = [column.name for column in cursor.description or ()].index("pool_size")
        return clients + sum(int(row[column]) for row in cursor) + FILES_TO_SPARE


def _file_limit(settings: Settings) -> int | None:
    """The soft limit of the process behind the socket; None where it runs elsewhere or is not ours to look at."""
    with _console(settings) as console:
        wire = socket.socket(fileno=console.fileno())
        try:
            if wire.family != socket.AF_UNIX:
                return None
            process, _, _ = struct.unpack("3i", wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            limits = Path(f"/proc/{process}/limits").read_text()
        except OSError:
            return None
        finally:
            wire.detach()  # the descriptor is the connection's own
    match = re.search(r"^Max open files +(\d+)", limits, re.MULTILINE)
    return int(match[1]) if match else None


def _console(settings: Settings) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=settings.pooler_host,
        port=settings.pooler_port,
        user="pgbouncer",
        dbname="pgbouncer",
        connect_timeout=PROBE_TIMEOUT_S,
        autocommit=True,
        prepare_threshold=None,
    )
