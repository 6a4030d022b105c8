"""The worker's steps, done in a process of the platform's own user, which may be killed at any point of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from control_plane.keyring import Keyring
from control_plane.registry.engine import control_engine
from control_plane.registry.workflows import PROVISION
from control_plane.routing.seam import load_tenant_app
from control_plane.settings import Settings
from provisioning.estate import Estate
from provisioning.inside import Inside
from provisioning.steps import SEQUENCES, Step, Tools
from tests.provisioning.killing import kill_after


def provision(settings: Settings, tenant_id: UUID, times: int = 1) -> None:
    """Every step, in order, each so many times."""
    _do(settings, tenant_id, [step for step in SEQUENCES[PROVISION] for _ in range(times)])


def provision_until(settings: Settings, tenant_id: UUID, steps: int) -> None:
    """The first steps; then the process is killed."""
    _do(settings, tenant_id, SEQUENCES[PROVISION][:steps])
    os.kill(os.getpid(), signal.SIGKILL)


def provision_until_statement(settings: Settings, tenant_id: UUID, number: int) -> None:
    """Every step, in order; the process is killed when it has sent so many statements to any database."""
    kill_after(number)
    _do(settings, tenant_id, SEQUENCES[PROVISION])


def step(settings: Settings, tenant_id: UUID, name: str) -> None:
    """The step of that name, whatever it is a part of."""
    _do(settings, tenant_id, [each for sequence in SEQUENCES.values() for each in sequence if each.__name__ == name])


def _do(settings: Settings, tenant_id: UUID, steps: Iterable[Step]) -> None:
    with _tools(settings) as tools:
        for step in steps:
            step(tools, tenant_id)


@contextmanager
def _tools(settings: Settings) -> Iterator[Tools]:
    engine = control_engine(settings.control_dsn, timeout_s=10)
    keyring = Keyring.load(settings.master_key_file)
    estate = Estate(settings=settings, engine=engine, keyring=keyring, app=load_tenant_app(settings.tenant_app))
    inside = Inside(estate)
    try:
        yield Tools(estate=estate, inside=inside)
    finally:
        inside.close()
        engine.dispose()
