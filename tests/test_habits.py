"""Habits of the house that no linter holds: what files must not name, and what must say what it is for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Written so that this file names none of them itself.
REGISTRIES = ("pypi%org", "pythonhosted%org", "npmjs%org", "yarnpkg%com", "crates%io", "golang%org", "rubygems%org")
HOST_OF_A_REGISTRY = re.compile("|".join(name.replace("%", r"\.") for name in REGISTRIES))
PATH_OF_A_PERSON = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work)/\w|\b[A-Z]:\\\\?Users\b")


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository, found without git: what .gitignore names is no part of it."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]

    def inside(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.name in {".git", "node_modules"} or any(path.match(name) for name in ignored):
                continue
            if path.is_dir() and not path.is_symlink():
                yield from inside(path)
            elif path.is_file():
                yield path

    return tuple(inside(ROOT))


def modules() -> list[Path]:
    """Every Python module that is not empty."""
    return [path for path in files() if path.suffix == ".py" and path.stat().st_size > 0]


def lines(pattern: re.Pattern[str]) -> list[str]:
    """Where the pattern occurs."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_repository_is_seen() -> None:
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert {"run", "pyproject.toml", "control_plane/domain/ids.py", "tests/test_habits.py"} <= names
    assert not any(name.startswith((".git/", ".venv/")) for name in names)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert lines(HOST_OF_A_REGISTRY) == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    assert lines(PATH_OF_A_PERSON) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/" + "home/ann/src", True),
        ("=/" + "Users/ann", True),
        ("'/" + "root/x'", True),
        ("C:\\" + "Users", True),
        ("/srv/copyhold", False),
        ("~/home/x", False),
        ("tests/work/x", False),
    ],
)
def test_a_path_of_somebodys_machine_is_known_when_it_is_seen(text: str, found: bool) -> None:
    assert bool(PATH_OF_A_PERSON.search(text)) is found


def test_every_module_says_what_it_is_for() -> None:
    assert [
        str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_every_public_function_of_the_domain_tells_what_a_caller_cannot_see() -> None:
    silent = [
        f"{path.name}: {node.name}"
        for path in (ROOT / "control_plane" / "domain").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
