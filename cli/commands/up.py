"""`copyhold up`: all of a platform on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DataOption, data_folder
from cli.supervisor.start import start
from cli.supervisor.tools import find_tools
from control_plane.registry.warm import WARM_MAX
from provisioning.bootstrap import WARM, bootstrap
from provisioning.layout import API_PROCESSES_MAX, DEFAULT_HOST, DEFAULT_PORT, Layout

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
ApiProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--api-processes",
        metavar="N",
        min=1,
        max=API_PROCESSES_MAX,
        help="Processes that answer HTTP, each of which can use one core; remembered for the next time.",
        show_default="1",
    ),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return once all is ready, and leave it running.")]


AtOption = Annotated[
    str, typer.Option("--at", metavar="REVISION", help="Build a new platform's tenant tables at this revision.")
]
WarmOption = Annotated[
    int,
    typer.Option("--warm", metavar="N", min=0, max=WARM_MAX, help="Finished silos that a new platform keeps ready."),
]
KmsOption = Annotated[
    str | None,
    typer.Option("--kms", metavar="KEY", help="Seal a new platform's master key under this key of AWS KMS."),
]


def up(
    data: DataOption = None,
    port: PortOption = None,
    host: HostOption = None,
    api_processes: ApiProcessesOption = None,
    detach: DetachOption = False,
    at: AtOption = "head",
    warm: WarmOption = WARM,
    kms: KmsOption = None,
) -> None:
    """Start everything on this machine: PostgreSQL servers, PgBouncer, Redis, API and worker.

    Example: copyhold up --data /srv/copyhold --port 8080 --api-processes 2 --detach
    """

    def prepare(layout: Layout) -> None:
        major, minor = find_tools().pgbouncer.release
        bootstrap(layout, pooler_version=(major, minor), tenant_revision=at, warm=warm)

    start(
        data_folder(data),
        host=host,
        port=port,
        api_processes=api_processes,
        detach=detach,
        bootstrap=prepare,
        kms=kms,
    )
