"""Several API processes on one port: started, kept alive, remembered, and none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.supervisor.preflight import claimed
from control_plane.domain.errors import SetupError
from provisioning.layout import Layout
from tests.platform.machine import Platform, eventually, free_port


def apis(platform: Platform) -> dict[str, int]:
    """Which numbers run, each with its process."""
    found = {}
    for pid, line in platform.processes().items():
        if "stubs/api.py" in line:
            found[line.split("--number")[1].strip() if "--number" in line else "1"] = pid
    return found


@pytest.mark.slow
def test_as_many_serve_as_were_asked_for_then_and_the_next_time_until_told_otherwise(platform: Platform) -> None:
    printed = platform.up("--api-processes", "3")
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  api")] == ["api", "api-2", "api-3"]
    assert sorted(apis(platform)) == ["1", "2", "3"]
    assert platform.run("down").returncode == 0
    assert platform.processes() == {}

    platform.up()
    assert sorted(apis(platform)) == ["1", "2", "3"]
    assert platform.run("down").returncode == 0

    copies = [platform.layout.snapshot_of(number) for number in (1, 2, 3)]
    for copy in copies:
        copy.touch()
    platform.up("--api-processes", "1")
    assert sorted(apis(platform)) == ["1"]
    assert [copy.exists() for copy in copies] == [True, False, False], "nobody starts from what was known long ago"
    assert Layout.open(platform.data).api_processes == 1


@pytest.mark.slow
def test_one_that_dies_comes_back_and_the_port_answers_all_the_while(platform: Platform) -> None:
    platform.up("--api-processes", "2")
    before = apis(platform)
    os.kill(before["2"], signal.SIGKILL)
    eventually(lambda: apis(platform).get("2", before["2"]) != before["2"])
    assert platform.serves("api")
    assert apis(platform)["1"] == before["1"]
    eventually(platform.layout.api_ready(2).exists)


@pytest.mark.slow
def test_what_a_killed_supervisor_left_is_ended_though_fewer_are_wanted_now(platform: Platform) -> None:
    # As the supervisor would have started it, but for the kernel's word that it ends with it.
    command = [sys.executable, str(Path(__file__).parent / "stubs/api.py"), "--data", str(platform.data)]
    left = subprocess.Popen(
        [*command, "--number", "3"], user=platform.data.stat().st_uid, cwd=platform.layout.run, start_new_session=True
    )
    try:
        eventually(platform.layout.api_ready(3).exists)
        platform.spawn()
        assert left.wait(timeout=60) != 0
    finally:
        left.kill()


def test_a_port_is_claimed_by_one_platform_at_a_time() -> None:
    port = free_port()
    with (
        claimed("127.0.0.1", port),
        pytest.raises(SetupError, match=f"port {port} is in use"),
        claimed("127.1", port),  # the same address, by another name
    ):
        pass
    with (
        socket.create_server(("127.0.0.1", port), reuse_port=True),
        pytest.raises(SetupError, match="is in use"),
        claimed("127.0.0.1", port),
    ):
        pass
    with claimed("127.0.0.1", port):
        pass


def test_a_folder_that_names_no_sensible_number_is_refused(place: Path) -> None:
    layout = Layout.create(place)
    state = layout.data / "platform.json"
    state.write_text(state.read_text().replace('"api_processes": 1', '"api_processes": 0'))
    with pytest.raises(SetupError, match="api_processes is not from 1 to 16"):
        Layout.open(place)
