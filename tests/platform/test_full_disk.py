"""A platform on a file system that is too small, or fills up."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from cli.marks import marked_ready
from tests.platform.conftest import CopyTo, requires_root
from tests.platform.machine import Platform, eventually

pytestmark = requires_root


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m,mode=0755", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def resize(disk: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk], check=True)


@pytest.mark.slow
def test_a_first_start_without_room_says_so_and_works_once_there_is_room(small_disk: Path) -> None:
    platform = Platform(small_disk / "data")
    up = platform.run("up", "--port", str(platform.port))

    assert up.returncode == 1
    assert "initdb of server" in up.stderr
    assert "MB are free" in up.stderr
    assert len(up.stderr.splitlines()) == 1
    assert platform.processes() == {}

    resize(small_disk, 600)
    platform.up()
    assert platform.starts() == 1
    assert not list(platform.layout.servers.glob(".*"))
    platform.run("down")
    assert platform.end()[0] == 0


def test_a_process_tells_that_it_serves_on_a_full_disk_too(small_disk: Path) -> None:
    with suppress(OSError):
        (small_disk / "filler").write_bytes(bytes(100_000_000))
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "another").write_text("anything")
    mark = small_disk / "ready"
    with marked_ready(mark):
        assert mark.exists()
    assert not mark.exists()


@pytest.mark.slow
def test_what_was_committed_survives_a_disk_that_fills_up(small_disk: Path, copy_to: CopyTo) -> None:
    resize(small_disk, 300)
    platform = Platform(copy_to(small_disk / "data"))
    platform.up()
    before = platform.starts()
    fill_up(small_disk, platform.data.stat().st_uid)

    with pytest.raises(psycopg.Error):
        write_until_it_fails(platform)
    resize(small_disk, 900)

    # Whether it stood or gave up depends on which write failed first; either way it comes back.
    eventually(lambda: platform.supervisor.poll() is not None or platform.serves("control"))
    if platform.supervisor.poll() is not None:
        platform.up()
        before += 1
    assert platform.starts() == before
    platform.run("down")
    assert platform.end()[0] == 0


def fill_up(disk: Path, owner: int) -> None:
    filler = disk / "filler"
    filler.write_bytes(b"")
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1024 * 1024))
    os.chown(filler, owner, pwd.getpwuid(owner).pw_gid)


def write_until_it_fails(platform: Platform) -> None:
    control = platform.layout.server("control")
    with psycopg.connect(control.dsn(database="postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE heap (value text)")
        while True:
            connection.execute("INSERT INTO heap SELECT repeat(md5(i::text), 50) FROM generate_series(1, 20000) AS i")
