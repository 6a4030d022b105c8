"""`copyhold down`: stop a platform."""

from __future__ import annotations

import typer

from cli.options import DataOption, data_folder
from cli.supervisor.stop import stop


def down(data: DataOption = None) -> None:
    """Stop the platform that `copyhold up` started here. Its data stays.

    Example: copyhold down --data /srv/copyhold
    """
    stop(data_folder(data), typer.echo)
