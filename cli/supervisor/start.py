"""`copyhold up` without the command line: from a folder's name to a running platform, and back to nothing."""

from __future__ import annotations

import os
from pathlib import Path

from cli.supervisor import leftovers, preflight, privileges, tools
from cli.supervisor.lock import PlatformLock
from cli.supervisor.platform import Bootstrap, Processes, ever_started, make_servers, steps
from cli.supervisor.report import BackgroundReport, TerminalReport, go_to_background
from cli.supervisor.signals import Signals, StopRequested
from cli.supervisor.supervise import Supervisor
from control_plane.domain.errors import CopyholdError, SetupError
from provisioning.commands import as_typed
from provisioning.layout import Layout


class StoppedEarlyError(SetupError):
    """Stopped before everything was ready; nothing is left running."""

    code = "stopped_early"


def start(
    data: Path,
    *,
    host: str | None,
    port: int | None,
    detach: bool,
    bootstrap: Bootstrap,
    api_processes: int | None = None,
    processes: Processes | None = None,
    kms: str | None = None,
) -> None:
    """Run the platform in `data` until it is stopped; with `detach`, only until it is ready.

    With `kms` the master key of a new one is sealed under that key of AWS KMS.
    Raises CopyholdError when it cannot start or a part does not stay up. Then nothing of it is left running.
    """
    preflight.raise_file_limit()
    privileges.make_folder_and_become_its_owner(data)
    os.umask(0o077)
    _forget_libpq_variables()
    layout = Layout.create(data, kms=kms).listening(host=host, port=port, api_processes=api_processes)
    report = go_to_background(layout.logs / "supervisor.log") if detach else TerminalReport()
    try:
        _run(layout, bootstrap, processes or Processes(), report)
    except StopRequested as error:
        report.failed(str(StoppedEarlyError()))
        raise StoppedEarlyError from error
    except CopyholdError as error:
        report.failed(str(error))
        raise
    except OSError as error:
        failure = SetupError(f"{error.filename or data}: {error.strerror}")
        report.failed(str(failure))
        raise failure from error


def _run(layout: Layout, bootstrap: Bootstrap, processes: Processes, report: TerminalReport | BackgroundReport) -> None:
    with (
        Signals() as signals,
        PlatformLock(layout.lock, layout.url) as lock,
        preflight.claimed(layout.host, layout.port),
    ):
        layout.save()
        found = tools.find_tools()
        for warning in tools.warnings(found):
            report.say(f"warning: {warning}")
        report.say(f"starting the platform in {layout.data}")
        with signals.interrupting():
            make_servers(layout, report)
            todo = steps(layout, found, bootstrap, processes)
            leftovers.clear(layout, ever_started(layout, todo, processes), report)

        def when_ready() -> None:
            report.say(f"open {layout.url}")
            report.say(_how_to_stop(layout, report))
            report.ready()

        Supervisor(report, lock, signals).run(todo, when_ready)


def _how_to_stop(layout: Layout, report: TerminalReport | BackgroundReport) -> str:
    down = as_typed("copyhold down", layout.data)
    return f"stop with: {down}" if isinstance(report, BackgroundReport) else f"stop with ctrl-C, or: {down}"


def _forget_libpq_variables() -> None:
    """PGHOST, PGOPTIONS and their like would change every connection that this process makes."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
