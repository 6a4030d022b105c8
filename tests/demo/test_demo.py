"""The demonstration does what it tells, from nothing, and leaves nothing running."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.folders import new_folder
from tests.platform_under_test import copyhold, free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the platform's user can reach."""
    path = new_folder("ch-demo-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


Done = subprocess.CompletedProcess[str]


def demonstrate(folder: Path) -> Done:
    """Every claim in it is checked by the demonstration itself, which fails when one does not hold."""
    port = free_port()
    done = copyhold("demo", "--no-stay", "--data", str(folder), "--port", str(port), check=False)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    return done


@pytest.fixture(scope="module")
def first() -> Iterator[tuple[Path, Done]]:
    """A folder in which there has been a demonstration, and what that has said."""
    path = new_folder("ch-demo-")
    yield path, demonstrate(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.slow
def test_the_demonstration_shows_all_three_models_and_migrates_them(first: tuple[Path, Done]) -> None:
    _, done = first
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("POST /signup -> 201", "18 x 404", "6 x 401", "0002"):
        assert told in done.stdout
    for model in ("pool", "bridge", "silo"):
        assert done.stdout.count(f"({model:<6}) reads 2 messages") == 2


@pytest.mark.slow
def test_a_second_demonstration_begins_anew(first: tuple[Path, Done]) -> None:
    """What an earlier one left is not in the way."""
    folder, _ = first
    done = demonstrate(folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_with_something_else_in_it_is_left_alone(folder: Path) -> None:
    """The demonstration deletes only what a demonstration made."""
    (folder / "precious.txt").write_text("keep me")
    done = copyhold("demo", "--no-stay", "--data", str(folder), check=False)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert (folder / "precious.txt").read_text() == "keep me"
