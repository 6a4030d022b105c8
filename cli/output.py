"""How commands show things: plain text that pipes well, JSON that programs can rely on, and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import typer

GAP = "  "
LINES_OF_COUNTING = 20
"""How many times progress that only counts is told where there is no terminal to draw it on."""

Tell = Callable[[str | None], None]
"""One more is done; the line, if there is one, is shown."""


def say(line: str = "") -> None:
    """A line for a person, on standard output."""
    typer.echo(line)


def note(line: str) -> None:
    """A line that is not part of what was asked for, on standard error."""
    typer.echo(line, err=True)


def print_json(data: object) -> None:
    """Data, indented. Times are ISO 8601 in UTC, ids their text."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_as_json))


def print_event(event: Mapping[str, object]) -> None:
    """One event of a stream, on a line of its own, at once."""
    typer.echo(json.dumps(event, ensure_ascii=False, default=_as_json))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns under a head, as wide as they need to be, never cut."""
    from rich.cells import cell_len

    lines = [list(head), *([in_line(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        say(GAP.join(padded).rstrip())


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Names and values, the values under each other."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        say(f"{name:<{width}}{GAP}{in_line(value)}".rstrip())


def in_line(value: object) -> str:
    """`value` for a person: a dash for nothing, local time, and nothing that could command the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ", ".join(in_line(item) for item in value) or "-"
    return "".join(char if char.isprintable() else "?" for char in str(value))


def in_time(milliseconds: float) -> str:
    """How long something took."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def counted(number: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextmanager
def progress(title: str, total: int, *, quiet: bool = False, counting: bool = False) -> Iterator[Tell]:
    """Shows how much of `total` is done, unless `quiet`: a bar on a terminal, above it the lines told.

    Elsewhere those lines alone, and where they are few (`counting`) now and then a count.
    """
    if quiet:
        yield _silent
    elif sys.stdout.isatty():
        with _bar(title, total) as tell:
            yield tell
    else:
        yield _counts(title, total) if counting else _lines


@contextmanager
def _bar(title: str, total: int) -> Iterator[Tell]:
    # Imported here: only a terminal needs it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(title, total=total)

        def tell(line: str | None) -> None:
            if line is not None:
                bar.console.print(line, markup=False, highlight=False)
            bar.advance(task)

        yield tell


def _counts(title: str, total: int) -> Tell:
    done = 0
    every = max(1, total // LINES_OF_COUNTING)

    def tell(line: str | None) -> None:
        nonlocal done
        done += 1
        if line is not None:
            say(line)
        if done % every == 0 or done == total:
            say(f"{title}: {done} of {max(done, total)}")

    return tell


def _silent(_: str | None) -> None:
    return


def _lines(line: str | None) -> None:
    if line is not None:
        say(line)


def _as_json(value: Any) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
