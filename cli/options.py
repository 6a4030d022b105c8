"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path(".copyhold")

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data folder of the platform; wins over COPYHOLD_* variables.",
        show_default=str(DEFAULT_DATA),
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


def data_folder(data: Path | None) -> Path:
    """The data folder meant: the one given, or the usual one below the current folder.

    Where it really is: behind a link out of a closed folder the platform's user can reach it, through the link not.
    """
    return (data or DEFAULT_DATA).expanduser().resolve()
