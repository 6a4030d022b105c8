"""Who acts, for the audit log."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from cli import actor


@pytest.fixture
def nobody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel knows of no login, as in a container."""
    _log_in(tmp_path, monkeypatch, actor.NOBODY_LOGGED_IN)
    monkeypatch.delenv("SUDO_USER", raising=False)


def _log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    file = tmp_path / "loginuid"
    file.write_text(str(uid))
    monkeypatch.setattr(actor, "LOGIN_UID", file)


def test_whoever_logged_in_acts_whatever_they_became(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _log_in(tmp_path, monkeypatch, 0)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert actor.acting_person() == "cli:root"


@pytest.mark.usefixtures("nobody_logged_in")
def test_without_a_login_the_user_of_the_process_acts() -> None:
    assert actor.acting_person() == f"cli:{getpass.getuser() if os.getuid() else 'root'}"


@pytest.mark.usefixtures("nobody_logged_in")
def test_root_by_sudo_is_whoever_ran_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert actor.acting_person() == "cli:daemon"


@pytest.mark.usefixtures("nobody_logged_in")
def test_an_ordinary_user_cannot_pretend_to_be_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1)
    monkeypatch.setenv("SUDO_USER", "root")
    assert actor.acting_person() == "cli:daemon"


@pytest.mark.usefixtures("nobody_logged_in")
def test_a_user_without_a_name_acts_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert actor.acting_person() == "cli:3999999"
