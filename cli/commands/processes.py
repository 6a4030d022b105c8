"""`copyhold api` and `copyhold worker`: the two processes alone."""

from __future__ import annotations

from cli.options import DataOption


def api(data: DataOption = None) -> None:
    """Serve HTTP: the control plane on its own host, each tenant's app on the tenant's.

    Example: copyhold api --data .copyhold
    """
    # Imported here: the API's parts take half a second to import, and other commands do without.
    from cli.serving import run_api

    run_api(data)


def worker(data: DataOption = None) -> None:
    """Run workflows: homes are made, tenants suspended and let in again.

    Example: COPYHOLD_WORKER_ID=worker-2 copyhold worker --data .copyhold
    """
    from cli.working import run_worker

    run_worker(data)
