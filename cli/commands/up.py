"""`copyhold up`: all of a platform on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DataOption, data_folder
from cli.supervisor.start import start
from provisioning.bootstrap import bootstrap
from provisioning.layout import DEFAULT_HOST, DEFAULT_PORT

PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=32767,  # from 32768 on, the kernel gives ports to outgoing connections
        help="HTTP port; remembered for the next time.",
        show_default=str(DEFAULT_PORT),
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on; remembered for the next time.", show_default=DEFAULT_HOST),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return once all is ready, and leave it running.")]


def up(data: DataOption = None, port: PortOption = None, host: HostOption = None, detach: DetachOption = False) -> None:
    """Start everything on this machine: PostgreSQL servers, PgBouncer, Redis, API and worker."""
    start(data_folder(data), host=host, port=port, detach=detach, bootstrap=bootstrap)
