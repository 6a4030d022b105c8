"""Whether a part serves, asked the way its clients will ask. Each answers within a few seconds and never raises."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import psycopg

PATIENCE_S = 2.0


def pgbouncer_answers(sockets: Path, port: int) -> bool:
    """SHOW VERSION on the admin console: PgBouncer lets its own user in as `pgbouncer` on a unix socket."""
    try:
        with psycopg.connect(
            host=str(sockets), port=port, dbname="pgbouncer", user="pgbouncer", connect_timeout=2, autocommit=True
        ) as console:
            console.execute("SHOW VERSION")
    except psycopg.Error:
        return False
    return True


def redis_answers(path: Path) -> bool:
    """PING, by hand: the supervisor needs nothing else of a client."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def api_answers(host: str, port: int) -> bool:
    """GET /readyz is 200."""
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - listening everywhere includes here
    connection = http.client.HTTPConnection(reach, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/readyz", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
