"""`copyhold demo`: the whole platform, from nothing, at work."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cli.options import DataOption
from provisioning.commands import as_typed

DEMO_DATA = Path(".demo")
DEMO_PORT = 8080


def demo(
    data: DataOption = None,
    port: Annotated[int, typer.Option("--port", min=1, max=32767, help="HTTP port.")] = DEMO_PORT,
    stay: Annotated[bool, typer.Option("--stay/--no-stay", help="Go on serving until ctrl-C.")] = True,
) -> None:
    """Start everything anew in .demo, make tenants in all three models, let them talk, migrate the fleet.

    What an earlier demonstration left in the folder is deleted first.

    Example: copyhold demo --port 9000
    """
    from cli.demo import Demo, platform

    folder = (data or DEMO_DATA).resolve()
    _clear(folder)
    with suppress(KeyboardInterrupt), platform(folder, port) as process:
        Demo(folder, port, typer.echo).run()
        if stay:
            typer.echo("\nctrl-C stops everything.")
            process.wait()


def _clear(folder: Path) -> None:
    from cli.demo import DemoError
    from cli.supervisor.lock import holder_of

    if not folder.exists():
        return
    if not (folder / "platform.json").exists():
        if any(folder.iterdir()):
            raise DemoError(f"{folder} is not empty and not a platform's: give --data a folder of its own")
        return
    if (holder := holder_of(folder / "supervisor.lock")) is not None:
        raise DemoError(f"a platform runs in {folder} ({holder.url}): {as_typed('copyhold down', folder)}")
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
