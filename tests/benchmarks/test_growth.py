"""How the benchmark of growth divides tenants, memory, disk and cost, and what it prints; nothing is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.footprint import Disk, Memory, folder_mb, model_of, most, part_of, pss_mb
from benchmarks.growth import Filled, Prices, costs, growth, markdown, mix
from control_plane.domain.tenant import Model

DATA = Path("/srv/data")
COUNTS = {Model.POOL: 8, Model.BRIDGE: 1, Model.SILO: 1}
USED = Memory(
    parts_mb={"api": 100.0, "control": 50.0, "alpha": 90.0, "beta": 40.0},
    serving_mb={Model.POOL: 40.0, Model.BRIDGE: 20.0, Model.SILO: 10.0},
)
STORED = Disk(
    servers_mb={"control": 60.0, "alpha": 80.0, "beta": 70.0},
    wal_mb={"control": 16.0, "alpha": 16.0, "beta": 16.0},
    homes_mb={Model.POOL: 10.0, Model.BRIDGE: 9.0, Model.SILO: 8.0},
)


@pytest.mark.parametrize(
    ("tenants", "pool", "apart"), [(3, 1, 1), (10, 8, 1), (39, 37, 1), (40, 36, 2), (100, 90, 5), (1000, 900, 50)]
)
def test_nine_in_ten_are_in_the_pool_and_no_model_is_left_out(tenants: int, pool: int, apart: int) -> None:
    assert mix(tenants) == {Model.POOL: pool, Model.BRIDGE: apart, Model.SILO: apart}


def test_a_growth_that_would_take_a_tenant_away_is_refused() -> None:
    assert growth([10, 10, 100]) == [mix(10), mix(10), mix(100)]
    for sizes in ([100, 10], [39, 40]):
        with pytest.raises(ValueError, match=f"from {sizes[0]} to {sizes[1]} tenants"):
            growth(sizes)


def test_too_few_for_every_model_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tenants"):
        mix(2)


def test_the_tenants_together_pay_for_the_whole_platform() -> None:
    prices = Prices(memory_gib=5.0, disk_gib=0.5)
    found = costs(COUNTS, USED, STORED, prices)
    together = sum(found[model].whole * count for model, count in COUNTS.items())
    assert together == pytest.approx(prices.of(sum(USED.parts_mb.values()), sum(STORED.servers_mb.values())))


def test_a_tenant_pays_alone_for_what_is_its_own_and_its_share_of_the_rest() -> None:
    found = costs(COUNTS, USED, STORED, Prices(memory_gib=1024.0, disk_gib=0.0))
    shared = (100 + 50) / 10
    rest_of_alpha = (90 - 40 - 20) / 9
    assert {model: cost.own for model, cost in found.items()} == {"pool": 5.0, "bridge": 20.0, "silo": 10.0}
    assert found[Model.POOL].whole == pytest.approx(5.0 + rest_of_alpha + shared)
    assert found[Model.BRIDGE].whole == pytest.approx(20.0 + rest_of_alpha + shared)
    assert found[Model.SILO].whole == pytest.approx(40.0 + shared)


def test_prices_are_of_a_gib() -> None:
    assert Prices(memory_gib=5.0, disk_gib=0.25).of(2048.0, 4096.0) == 11.0


def test_what_a_tenant_adds_is_the_difference_and_unknown_without_one() -> None:
    before = Filled(counts=COUNTS, homes_mb=STORED.homes_mb)
    now = Filled(
        counts={Model.POOL: 18, Model.BRIDGE: 3, Model.SILO: 1},
        homes_mb={Model.POOL: 11.0, Model.BRIDGE: 12.0, Model.SILO: 8.5},
    )
    assert now.each_since(before) == {"pool": 0.1, "bridge": 1.5, "silo": None}


@pytest.mark.parametrize(
    ("arguments", "folder", "part"),
    [
        (["postgres: copyhold-alpha: pool_1 pool_1 [local] idle"], DATA / "servers" / "alpha", "alpha"),
        (["/usr/sbin/pgbouncer", "/srv/data/pgbouncer/pgbouncer.ini"], DATA / "pgbouncer", "pgbouncer"),
        (["redis-server", "/srv/data/redis/redis.conf"], DATA / "redis", "redis"),
        (["python", "-m", "cli.main", "api", "--data", "/srv/data"], DATA / "run", "api"),
        (["python", "-m", "cli.main", "worker", "--data", "/srv/data"], DATA / "run", "worker"),
        (["python", "-m", "cli.main", "up", "--data", "/srv/data", "--detach"], Path("/"), "supervisor"),
        (["python", "-m", "cli.main", "migrate", "up", "--data", "/srv/data"], Path("/"), None),
        (["python", "-m", "cli.main", "api", "--data", "/srv/other"], Path("/srv/other/run"), None),
        (["postgres: copyhold-alpha: pool_1"], Path("/srv/other/servers/alpha"), None),
        (["tail", "-f", "/srv/data"], Path("/"), None),
    ],
)
def test_a_process_is_a_part_of_its_own_platform_alone(arguments: list[str], folder: Path, part: str | None) -> None:
    assert part_of(arguments, folder, DATA) == part


@pytest.mark.parametrize(
    ("database", "model"),
    [("pool_1", "pool"), ("bridge_2", "bridge"), ("silo_0af3", "silo"), ("template_0003_0002", None), ("", None)],
)
def test_a_database_tells_its_model(database: str, model: str | None) -> None:
    assert model_of(database) == model


def test_memory_is_the_proportional_share() -> None:
    assert pss_mb("00400000-7fff [rollup]\nRss:   9000 kB\nPss:   2048 kB\nPss_Anon:  512 kB\n") == 2.0


def test_a_folder_takes_what_its_files_do(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for file in (tmp_path / "one", tmp_path / "below" / "two"):
        file.write_bytes(b"x" * 1024 * 1024)
    assert folder_mb(tmp_path) == pytest.approx(2.0, abs=0.1)


def test_the_most_of_each_is_remembered_on_its_own() -> None:
    assert most({}, {"alpha": 2}) == {"alpha": 2}
    assert most({"alpha": 3, "beta": 1}, {"alpha": 2, "beta": 5}) == {"alpha": 3, "beta": 5}


def test_the_table_has_a_column_a_size_and_a_dash_for_what_is_unknown() -> None:
    def size(tenants: int, bridge_mb: float | None) -> dict[str, object]:
        return {
            "tenants": tenants,
            "made_per_s": 6.25,
            **{str(model): count for model, count in mix(tenants).items()},
            "memory_mb": {"api": 100.4},
            "memory_load_mb": {"api": 110.0},
            "disk_mb": {"alpha": 80.0},
            "wal_mb": {"alpha": 16.0},
            "disk_per_tenant_mb": {"pool": 0.05, "bridge": bridge_mb, "silo": 8.0},
            "connections": {"rest": {"pooler_clients": 9}, "load": {"pooler_clients": 20}},
            "commands_s": {"migrate up": 1.234},
            "cost_per_tenant": {"pool": 1.0},
            "cost_of_own": {"pool": 0.5},
        }

    prices = {"memory_gib": 5.0, "disk_gib": 0.1}
    *lines, empty, assumed = markdown({"sizes": [size(10, 1.5), size(1000, None)], "prices": prices}).splitlines()
    assert lines[:4] == [
        "| tenants | 10 | 1,000 |",
        "|---|---|---|",
        "| in pool / bridge / silo | 8 / 1 / 1 | 900 / 50 / 50 |",
        "| onboarded a second | 6.2 | 6.2 |",
    ]
    assert "| memory, MB, at rest / under load: api | 100 / 110 | 100 / 110 |" in lines
    assert "| disk of one more tenant, MB: bridge | 1.500 | – |" in lines
    assert "| connections, at rest / most under load: pooler clients | 9 / 20 | 9 / 20 |" in lines
    assert "| command, s: migrate up | 1.2 | 1.2 |" in lines
    assert {line.count("|") for line in lines} == {4}
    assert (empty, assumed) == ("", "Prices assumed: 5.00 a month for a GiB of memory, 0.10 for one of disk.")
