"""Settings that make no sense are refused when a process starts, by name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain.errors import SetupError
from control_plane.settings import Settings


def settings(monkeypatch: pytest.MonkeyPatch, **limits: str) -> Settings:
    """As a process reads them whose environment has these limits."""
    for name, value in limits.items():
        monkeypatch.setenv(f"COPYHOLD_LIMITS__{name.upper()}", value)
    here = Path("/nonexistent")
    return Settings.from_environment(
        control_dsn="", pooler_host="", pooler_dir=here, master_key_file=here, snapshot_file=here
    )


@pytest.mark.parametrize(
    ("told", "kept"), [(None, timedelta(hours=1)), ("0", timedelta(0)), ("604800", timedelta(days=7))]
)
def test_how_long_the_home_that_was_left_is_kept(
    monkeypatch: pytest.MonkeyPatch, told: str | None, kept: timedelta
) -> None:
    assert settings(monkeypatch, **({"undo_window_s": told} if told else {})).limits.undo_window == kept


@pytest.mark.parametrize("nonsense", ["-1", "604801", "soon", "1h", ""])
def test_a_time_that_nothing_can_be_kept_for_is_refused(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    with pytest.raises(SetupError, match=r"^COPYHOLD_LIMITS__UNDO_WINDOW_S: "):
        settings(monkeypatch, undo_window_s=nonsense)
