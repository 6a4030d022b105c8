"""Starting and stopping a platform: what a person sees, and what runs."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.platform.machine import PARTS, Platform, eventually


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_a_running_platform_serves(running: Platform, part: str) -> None:
    assert running.serves(part)


def test_progress_names_every_part_in_order_and_says_how_to_go_on(platform: Platform) -> None:
    lines = platform.up().splitlines()

    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert named == ["control", "alpha", "beta", "bootstrap", "pgbouncer", "redis", "api", "worker"]
    assert lines[-2] == f"open http://localhost:{platform.port}"
    assert f"down --data {platform.data}" in lines[-1]


def test_all_parts_run_as_the_unprivileged_owner_of_the_data(running: Platform) -> None:
    owner = running.data.stat().st_uid

    assert owner != 0
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in running.processes()} == {owner}


def test_the_data_folder_is_closed_to_others(running: Platform) -> None:
    for folder in (running.data, running.layout.run, running.layout.servers, running.data / "secrets"):
        assert folder.stat().st_mode & 0o077 == 0
    assert running.layout.master_key.stat().st_mode & 0o777 == 0o600


def test_a_server_listens_on_its_socket_only_and_pins_an_app_login_to_its_database(running: Platform) -> None:
    alpha = running.layout.server("alpha")
    with psycopg.connect(alpha.dsn(database="postgres", user="postgres"), autocommit=True) as admin:
        assert admin.execute("SHOW listen_addresses").fetchone() == ("",)
        assert admin.execute("SHOW wal_level").fetchone() == ("logical",)
        admin.execute("CREATE ROLE one LOGIN")
        admin.execute("CREATE DATABASE one")
        admin.execute("CREATE DATABASE two")

    psycopg.connect(alpha.dsn(database="one", user="one")).close()
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(alpha.dsn(database="two", user="one"))


def test_values_of_a_failing_statement_stay_out_of_the_log(running: Platform) -> None:
    alpha = running.layout.server("alpha")
    with psycopg.connect(alpha.dsn(database="postgres", user="postgres"), autocommit=True) as admin:
        admin.execute("CREATE TABLE secrets (value text UNIQUE)")
        for value in ("whisper-1", "whisper-2"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                admin.execute("INSERT INTO secrets VALUES (%s), (%s)", (value, value))
        with pytest.raises(psycopg.errors.UniqueViolation):
            admin.execute("INSERT INTO secrets VALUES ('whisper-3'), ('whisper-3')")

    log = (running.layout.logs / "alpha.log").read_text()
    assert "duplicate key" in log
    assert "whisper" not in log


def test_a_second_up_names_the_first_and_leaves_it_alone(running: Platform) -> None:
    assert running.supervisor is not None

    second = running.run("up", "--port", "9")

    assert second.returncode == 1
    assert f"already running (pid {running.supervisor.pid}, http://localhost:{running.port})" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert all(running.serves(part) for part in PARTS)


def test_down_stops_everything_and_nothing_else(platform: Platform) -> None:
    platform.up()
    bystander = subprocess.Popen(
        ["tail", "-f", str(platform.layout.logs / "alpha.log")],
        user=platform.data.stat().st_uid if os.geteuid() == 0 else None,
        stdout=subprocess.DEVNULL,
    )

    down = platform.run("down")

    assert down.returncode == 0
    assert down.stdout.splitlines()[-1] == "stopped"
    assert list(platform.processes()) == [bystander.pid]
    assert platform.end()[0] == 0
    bystander.kill()
    bystander.wait()


def test_down_says_so_when_nothing_runs(platform: Platform, place: Path) -> None:
    assert platform.run("down").stdout == f"not running: {platform.data}\n"
    nowhere = Platform(place / "nowhere").run("down")
    assert (nowhere.returncode, nowhere.stdout) == (0, f"not running: there is no platform in {place / 'nowhere'}\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(platform: Platform, number: signal.Signals) -> None:
    platform.up()

    platform.tell(number)

    assert platform.end() == (0, "everything is stopped\n")
    assert platform.processes() == {}


def test_ctrl_c_in_a_terminal_lets_the_servers_end_cleanly(platform: Platform) -> None:
    platform.up()
    assert platform.supervisor is not None

    os.killpg(platform.supervisor.pid, signal.SIGINT)  # a terminal tells the whole foreground group

    assert platform.end()[0] == 0
    for server in ("control", "alpha", "beta"):
        assert "database system is shut down" in (platform.layout.logs / f"{server}.log").read_text().splitlines()[-1]


def test_detached_up_returns_when_all_is_ready(platform: Platform) -> None:
    up = platform.run("up", "--detach", "--port", str(platform.port))

    assert up.returncode == 0, up.stderr
    assert "stop with: copyhold down" in up.stdout
    assert all(platform.serves(part) for part in PARTS)
    assert f"open http://localhost:{platform.port}" in (platform.layout.logs / "supervisor.log").read_text()


def test_detached_up_prints_why_it_failed(platform: Platform) -> None:
    up = platform.run("up", "--detach", "--port", str(platform.port), STUB_BOOTSTRAP="fails")

    assert (up.returncode, up.stderr) == (1, "copyhold: the stub bootstrap fails\n")
    eventually(lambda: platform.processes() == {})


def test_data_and_port_survive_a_restart(platform: Platform) -> None:
    platform.up()
    before = platform.starts()
    platform.run("down")
    platform.end()

    assert platform.run("up", "--detach").returncode == 0

    assert platform.serves("api")
    assert platform.starts() == before + 1


@pytest.mark.slow
def test_an_unread_terminal_does_not_stop_a_platform(platform: Platform) -> None:
    platform.up()
    assert platform.supervisor is not None
    assert platform.supervisor.stdout is not None
    platform.supervisor.stdout.close()
    pid = platform.pid("redis")
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: platform.pid("redis") not in {None, pid} and platform.serves("redis"))
    assert platform.supervisor.poll() is None
    platform.supervisor.stdout = None


@pytest.mark.slow
def test_libpq_variables_of_the_caller_do_not_reach_the_platform(platform: Platform) -> None:
    platform.up(PGHOST="/nowhere", PGPORT="1", PGOPTIONS="-c default_transaction_read_only=on", PGDATA="/nowhere")

    assert platform.starts() == 2


def test_the_user_that_root_starts_is_the_service_user(running: Platform) -> None:
    if os.geteuid() == 0:
        assert pwd.getpwuid(running.data.stat().st_uid).pw_name == "postgres"
