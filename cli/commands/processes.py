"""`copyhold api` and `copyhold worker`: the two processes alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DataOption
from provisioning.layout import API_PROCESSES_MAX

NumberOption = Annotated[
    int,
    typer.Option("--number", metavar="N", min=1, max=API_PROCESSES_MAX, help="Which of those of a machine this is."),
]


def api(data: DataOption = None, number: NumberOption = 1) -> None:
    """Serve HTTP: the control plane on its own host, each tenant's app on the tenant's.

    Several may answer on one port, each with a number of its own: the kernel shares connections out among them.

    Example: copyhold api --data .copyhold --number 2
    """
    # Imported here: the API's parts take half a second to import, and other commands do without.
    from cli.serving import run_api

    run_api(data, number)


def worker(data: DataOption = None) -> None:
    """Run workflows: homes are made, tenants suspended and let in again.

    Example: COPYHOLD_WORKER_ID=worker-2 copyhold worker --data .copyhold
    """
    from cli.working import run_worker

    run_worker(data)
