"""What `up` looks at before anything starts, and what it says."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.supervisor import tools
from control_plane.domain.errors import SetupError
from provisioning.layout import ForeignFolderError, Layout, NewerFormatError, NoPlatformError
from provisioning.providers import binaries
from tests.platform.conftest import CopyTo, requires_root
from tests.platform.machine import Platform


def refusal(platform: Platform, *arguments: str) -> str:
    """The one line with which `up` fails, with nothing started."""
    up = platform.run("up", *arguments)
    assert up.returncode == 1, up.stdout
    assert platform.processes() == {}
    assert len(up.stderr.splitlines()) == 1, up.stderr
    return up.stderr


def test_a_port_in_use_is_named_with_the_option_that_changes_it(bare_platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        said = refusal(bare_platform, "--port", str(port))

    assert f"port {port} is in use" in said
    assert "--port" in said


def test_an_address_of_another_machine_is_refused(bare_platform: Platform) -> None:
    assert "cannot listen on 192.0.2.1" in refusal(bare_platform, "--host", "192.0.2.1")


def test_a_newer_format_is_refused_and_left_alone(bare_platform: Platform) -> None:
    bare_platform.data.mkdir(mode=0o700)
    layout = Layout.create(bare_platform.data)
    file = layout.data / "platform.json"
    content = json.dumps({**json.loads(file.read_text()), "format": 2, "news": True})
    file.write_text(content)

    with pytest.raises(NewerFormatError, match="newer Copyhold"):
        Layout.create(layout.data)
    with pytest.raises(NewerFormatError, match=r"format 2; this one knows 1"):
        Layout.open(layout.data)
    assert file.read_text() == content


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "x"}', '{"format": 1}', "\x00"])
def test_a_damaged_platform_file_is_refused(place: Path, content: str) -> None:
    (place / "platform.json").write_text(content)

    with pytest.raises(ForeignFolderError, match=r"platform\.json"):
        Layout.open(place)


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(place: Path) -> None:
    (place / "thesis.txt").write_text("mine")

    said = refusal(Platform(place))

    assert "not empty" in said
    assert [entry.name for entry in place.iterdir()] == ["thesis.txt"]
    assert place.stat().st_uid == os.geteuid()


def test_no_platform_says_how_to_make_one(place: Path) -> None:
    with pytest.raises(NoPlatformError, match=f"copyhold up --data {place}/none"):
        Layout.open(place / "none")


def test_a_lost_master_key_is_not_replaced(place: Path) -> None:
    layout = Layout.create(place)
    (layout.servers / "alpha").mkdir()
    layout.master_key.unlink()

    with pytest.raises(SetupError, match=r"master\.key is missing"):
        Layout.create(place)


def test_a_master_key_stays_what_it_was(place: Path) -> None:
    key = Layout.create(place).master_key.read_bytes()

    assert len(key) == 32
    assert Layout.create(place).master_key.read_bytes() == key


@requires_root
def test_a_folder_that_the_service_user_cannot_reach_is_named(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    said = refusal(Platform(closed / "data"))

    assert f"{closed} is closed to it" in said
    assert f"chmod o+x {closed}" in said


ODD = 'a folder\'s "name" with spaces, 100% odd'


@pytest.mark.parametrize("name", ["x" * 120, pytest.param(ODD, marks=pytest.mark.slow)])
def test_a_long_or_odd_path_works(place: Path, copy_to: CopyTo, name: str) -> None:
    platform = Platform(copy_to(place / name))

    platform.up()

    assert platform.layout.sockets.parent == Path("/tmp")
    assert platform.layout.sockets.stat().st_mode & 0o777 == 0o700
    assert platform.starts() == 2
    assert platform.run("down").returncode == 0
    platform.end()
    assert platform.processes() == {}
    platform.layout.sockets.rmdir()


def test_somebody_elses_short_socket_folder_is_refused(place: Path) -> None:
    data = place / ("x" * 120)
    data.mkdir()
    sockets = Layout.create(data).sockets
    sockets.chmod(0o755)

    with pytest.raises(ForeignFolderError, match="not a private folder"):
        Layout.open(data)
    sockets.rmdir()
    sockets.symlink_to(place)
    with pytest.raises(ForeignFolderError, match="not a private folder"):
        Layout.create(data)
    sockets.unlink()


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, place: Path) -> Path:
    """A machine without any program; the folder is its PATH."""
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(binaries, "DISTRIBUTION_FOLDERS", place)
    monkeypatch.setattr(tools, "BUILT_HERE", place)
    monkeypatch.setattr(tools, "ADMIN_PROGRAMS", place)
    return place


def program(folder: Path, name: str, version: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{version}'\n")
    file.chmod(0o755)


def postgres(folder: Path, version: str) -> None:
    for name in binaries.NEEDED:
        program(folder, name, f"{name} (PostgreSQL) {version}")


def test_everything_that_is_missing_is_named_at_once(bare_machine: Path) -> None:
    with pytest.raises(SetupError) as refused:
        tools.find_tools()

    for name in ("PostgreSQL", "PgBouncer", "redis-server", "./run setup"):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("postgres_version", "pgbouncer_version", "said"),
    [
        ("14.9", "1.24.1", "PostgreSQL 14.9 in .* is too old: 15 or newer is needed"),
        ("15.2", "1.17.0", "PgBouncer 1.17.0; 1.18 or newer is needed"),
    ],
)
def test_what_is_too_old_is_refused(
    bare_machine: Path, postgres_version: str, pgbouncer_version: str, said: str
) -> None:
    postgres(bare_machine, postgres_version)
    program(bare_machine, "pgbouncer", f"PgBouncer {pgbouncer_version}")
    program(bare_machine, "redis-server", "Redis server v=7.0.15 sha=00000000:0")

    with pytest.raises(SetupError, match=said):
        tools.find_tools()


def test_a_usable_but_old_pgbouncer_is_a_warning(bare_machine: Path) -> None:
    postgres(bare_machine, "18.0")
    program(bare_machine, "pgbouncer", "PgBouncer 1.18.0")
    program(bare_machine, "valkey-server", "Valkey server v=8.1.1 sha=00000000:0")

    found = tools.find_tools()

    assert (found.postgres.major, found.redis.version) == (18, "8.1.1")
    assert [warning for warning in tools.warnings(found) if "PgBouncer 1.18.0" in warning]


def test_the_newest_postgres_is_taken_by_number_not_by_name(bare_machine: Path) -> None:
    for major in ("9", "15", "17"):
        folder = bare_machine / major / "bin"
        folder.mkdir(parents=True)
        postgres(folder, f"{major}.1")

    assert binaries.newest_postgres().version == "17.1"


def test_too_few_open_files_are_refused() -> None:
    code = "from cli.supervisor.preflight import raise_file_limit; raise_file_limit()"
    owner = 65534 if os.geteuid() == 0 else None  # root may raise the limit again

    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)),
        user=owner,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "only 1000 open files are allowed here, 4096 are needed" in done.stderr


def test_a_platform_gets_as_many_open_files_as_there_may_be(running: Platform) -> None:
    pid = running.pid("pgbouncer")
    assert pid is not None

    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()

    soft = next(int(line.split()[3]) for line in limits if line.startswith("Max open files"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(hard, 65536)


@pytest.mark.slow
@pytest.mark.parametrize("port", ["0", "32768", "70000", "http"])
def test_a_port_that_cannot_be_is_a_usage_error(place: Path, port: str) -> None:
    command = [sys.executable, "-m", "cli.main", "up", "--data", str(place / "data"), "--port", port]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "--port" in done.stderr
    assert not (place / "data").exists()
