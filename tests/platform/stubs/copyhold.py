"""`copyhold up` and `copyhold down` with real servers, and stubs for what is built on them: bootstrap, API, worker."""

import argparse
import os
import sys
import time
from pathlib import Path

import psycopg
import typer

from cli.options import data_folder
from cli.supervisor.platform import Processes
from cli.supervisor.start import start
from cli.supervisor.stop import stop
from control_plane.domain.errors import CopyholdError
from provisioning.layout import POOLER_PORT, Layout

HERE = Path(__file__).parent

PGBOUNCER_INI = """\
[databases]
* = host={sockets} port=6002 user=postgres
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {sockets}
auth_type = any
pool_mode = transaction
"""


def bootstrap(layout: Layout) -> None:
    if os.environ.get("STUB_BOOTSTRAP") == "fails":
        raise CopyholdError("the stub bootstrap fails")
    if os.environ.get("STUB_BOOTSTRAP") == "hangs":
        time.sleep(600)
    ini = PGBOUNCER_INI.format(sockets=layout.sockets, port=POOLER_PORT)
    (layout.pooler / "pgbouncer.ini").write_text(ini)
    with psycopg.connect(layout.server("control").dsn(database="postgres", user="postgres")) as control:
        control.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now())")
        control.execute("INSERT INTO starts DEFAULT VALUES")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--api-processes", type=int)
    parser.add_argument("--detach", action="store_true")
    asked = parser.parse_args()
    processes = Processes(api=(sys.executable, str(HERE / "api.py")), worker=(sys.executable, str(HERE / "worker.py")))
    data = data_folder(asked.data)
    try:
        if asked.verb == "down":
            stop(data, typer.echo)
        else:
            start(
                data,
                host=asked.host,
                port=asked.port,
                detach=asked.detach,
                api_processes=asked.api_processes,
                bootstrap=bootstrap,
                processes=processes,
            )
    except typer.Exit as leave:
        return leave.exit_code
    except CopyholdError as error:
        typer.echo(f"copyhold: {error}", err=True)
        return 1
    return 0


sys.exit(main())
