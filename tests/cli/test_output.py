"""How things are shown."""

from __future__ import annotations

import json
import os
import pty
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from cli import output


def test_columns_are_as_wide_as_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "n"), [("日本", 1), ("ab", 22)])
    assert capsys.readouterr().out == "name  n\n日本  1\nab    22\n"


def test_nothing_is_a_dash_and_nothing_commands_the_terminal() -> None:
    assert output.in_line(None) == "-"
    assert output.in_line([]) == "-"
    assert output.in_line("a\x1b[2Jb\nc") == "a?[2Jb?c"


def test_json_has_times_in_utc_and_ids_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    output.print_json({"at": at, "id": UUID(int=7), "name": "Zoë"})
    out = capsys.readouterr().out
    assert "Zoë" in out
    assert json.loads(out) == {
        "at": datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC).isoformat(),
        "id": str(UUID(int=7)),
        "name": "Zoë",
    }


def test_counting_is_told_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("migrating", 100, counting=True) as tell:
        for _ in range(100):
            tell(None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == output.LINES_OF_COUNTING
    assert lines[-1] == "migrating: 100 of 100"


def test_what_comes_on_top_of_what_was_planned_raises_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """As homes do that are made while the fleet is migrated."""
    with output.progress("migrating", 2, counting=True) as tell:
        for _ in range(3):
            tell(None)
    assert capsys.readouterr().out.splitlines()[-1] == "migrating: 3 of 3"


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("migrating", 1, quiet=True) as tell:
        tell("a line")
    assert capsys.readouterr().out == ""


def test_on_a_terminal_lines_stand_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stdout", terminal)
        with output.progress("provision", 2) as tell:
            tell("  choose home")
            tell(None)
    shown = _all_of(ours)
    assert "  choose home" in shown
    assert "2/2" in shown


def _all_of(terminal: int) -> str:
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as ours, suppress(OSError):  # EIO: the other end is closed
        while chunk := ours.read(10_000):
            shown += chunk
    return shown.decode()
