"""Facts about a move, well as they can be; tests take something away."""

from __future__ import annotations

from provisioning.moves.copying import Size
from provisioning.moves.obstacles import Kind, Obstacle
from provisioning.moves.preconditions import Facts
from provisioning.moves.recipes import Terms

REPLICA = Obstacle("wal_level is replica: set it to logical", Kind.SETUP)
NO_SLOT = Obstacle("no replication slot is free", Kind.NOW)
NO_ROWS = Obstacle("copyhold_mover does not see all rows", Kind.ROWS)
WELL = Facts(
    server="alpha",
    version=150004,
    obstacles=(),
    target="beta",
    target_obstacles=(),
    size=Size(rows=100_000, bytes=30_000_000),
    oldest_writer=None,
    oldest_writer_s=0.0,
    revisions=("h0002", "0002"),
    wanted=("h0002", "0002"),
    unmovable=None,
    unindexed=(),
)
TERMS = Terms(allow_freeze=False, window_s=3600, bound_s=120.0)
