"""Commands by name, imported only when they are meant: help and completion do without what commands import."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command


@dataclass(frozen=True)
class Entry:
    """Where a command is found, `module:attribute` of a function or a Typer, and its line in the help."""

    where: str
    summary: str


def command_group() -> typer.Typer:
    """A noun, to which commands are added; its line in the help is its entry's."""
    group = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    group.callback()(_stay_a_group)
    return group


def lazy_group(entries: Mapping[str, Entry]) -> type[TyperGroup]:
    """The class of a root that knows these commands by name."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(entries)

        def list_commands(self, _context: Any) -> list[str]:
            return list(entries)

        def format_commands(self, _context: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])

    return LazyGroup


class _Commands(MutableMapping[str, Any]):
    """Imports a command when it is looked up."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(entries)
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._entries[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _load(name: str, entry: Entry) -> Any:
    module, _, attribute = entry.where.partition(":")
    gc.disable()  # An import makes much and drops nothing: looking for garbage in between is a tenth of its time.
    try:
        found = getattr(importlib.import_module(module), attribute)
    finally:
        gc.enable()
    if isinstance(found, typer.Typer):
        command = get_command(found)
        command.help = entry.summary
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command()(found)
        command = get_command(alone)
    command.name = name
    return command


def _stay_a_group() -> None:
    # Without a callback, Typer makes a group of one command into that command.
    return
