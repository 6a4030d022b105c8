"""The root of the command: help, version, and what is said of wrong use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli import main
from tests.cli.shell import Shell

shell = Shell()

WITHOUT_A_PLATFORM = {("server", "hardening")}
"""Commands that look at nothing."""


def _paths() -> Iterator[tuple[str, ...]]:
    root = get_command(main.app)
    assert isinstance(root, TyperGroup)
    for name in main.COMMANDS:
        command = root.commands[name]
        if isinstance(command, TyperGroup):
            yield from ((name, below) for below in command.commands)
        else:
            yield (name,)


@pytest.mark.parametrize("path", list(_paths()), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    said = shell(*path, "--help")
    assert said.code == 0
    examples = [line for line in said.out.splitlines() if "Example:" in line]
    assert any(f"copyhold {' '.join(path)}" in example for example in examples)
    assert "--data DIR" in said.out or path in WITHOUT_A_PLATFORM


def test_the_help_lists_every_command() -> None:
    said = shell("--help")
    assert said.code == 0
    assert all(name in said.out for name in main.COMMANDS)


def test_alone_it_shows_its_help() -> None:
    said = shell()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


def test_the_version() -> None:
    said = shell("--version")
    assert (said.code, said.out) == (0, f"copyhold {version('copyhold')}\n")


def test_a_misspelled_command_is_a_usage_error_with_a_suggestion() -> None:
    said = shell("tennant", "list")
    assert said.code == 2
    assert "Did you mean 'tenant'?" in said.err


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, cli.main; print([name for name in sys.modules if name in sys.argv])"
    heavy = ("sqlalchemy", "dbos", "fastapi", "pydantic", "psycopg", "alembic", "rich")
    found = subprocess.run([sys.executable, "-c", script, *heavy], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    ["tenant list", "tenant show x", "server list", "migrate status", "migrate up", "pooler diff", "audit list"],
)
def test_without_a_platform_the_folder_is_named(command: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    said = Shell(nowhere)(*command.split())
    assert said.code == 1
    assert said.error == f"there is no platform in {nowhere}; `copyhold up --data {nowhere}` makes one"


@pytest.mark.parametrize(
    "command",
    [
        "tenant create Acme --plan starter --model pool",
        "tenant suspend x",
        "key create x",
        "server drain beta",
        "migrate up",
        "staff add a@b.example",
        "audit list",
    ],
)
def test_a_platform_that_is_down_is_named_with_how_to_bring_it_up(command: str, stopped: Shell) -> None:
    said = stopped(*command.split())
    assert said.code == 1
    assert said.error == (
        f"the control database does not answer: is the platform up? copyhold up --data {stopped.data}"
    )


@pytest.mark.parametrize("command", ["status", "apply"])
def test_a_pooler_that_is_down_is_named_with_how_to_bring_it_up(command: str, stopped: Shell) -> None:
    said = stopped("pooler", command)
    assert said.code == 1
    assert said.error == f"the pooler does not answer: is the platform up? copyhold up --data {stopped.data}"


def test_a_folder_of_something_else_is_refused(stopped: Shell) -> None:
    assert stopped.data is not None
    (stopped.data / "platform.json").write_text('{"name": "something else"}')
    said = stopped("tenant", "list")
    assert said.code == 1
    assert "platform.json is not a platform's" in said.error
