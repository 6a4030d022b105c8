"""The worker's steps, done in a process of the platform's own user, which may be killed at any point of them."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from control_plane.registry import warm
from control_plane.registry.engine import control_engine
from control_plane.registry.workflows import EXPORT, PROVISION, REPLENISH, ROTATE, DurableWorkflows
from control_plane.routing.seam import load_tenant_app
from control_plane.settings import Settings
from control_plane.stores.master_keys import open_keyring
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


def replenish(settings: Settings, server: str) -> None:
    """See to that server's warm silos."""
    _do(settings, warm.subject_of(server), SEQUENCES[REPLENISH])


def replenish_until_statement(settings: Settings, server: str, number: int) -> None:
    """The same; the process is killed when it has sent so many statements to any database."""
    kill_after(number)
    replenish(settings, server)


def carry_out(settings: Settings, subject: UUID, kind: str, times: int = 1) -> None:
    """Every step of the workflow of that name, in order, each so many times."""
    _do(settings, subject, [step for step in SEQUENCES[kind] for _ in range(times)])


def carry_out_until_statement(settings: Settings, subject: UUID, kind: str, number: int) -> None:
    """Every step, in order; the process is killed when it has sent so many statements to any database."""
    kill_after(number)
    _do(settings, subject, SEQUENCES[kind])


def rotate(settings: Settings, database_id: UUID) -> None:
    """Every step of changing a database's login."""
    _do(settings, database_id, SEQUENCES[ROTATE])


def peak_of_writing(settings: Settings, export_id: UUID) -> int:
    """The most memory, in bytes, that this process has taken when it has written an export."""
    carry_out(settings, export_id, EXPORT)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step(settings: Settings, tenant_id: UUID, name: str) -> None:
    """The step of that name, whatever it is a part of."""
    _do(settings, tenant_id, [each for sequence in SEQUENCES.values() for each in sequence if each.__name__ == name])


def _do(settings: Settings, tenant_id: UUID, steps: Iterable[Step]) -> None:
    with tools(settings) as ready:
        for step in steps:
            step(ready, tenant_id)


@contextmanager
def tools(settings: Settings) -> Iterator[Tools]:
    """What a worker's steps are handed."""
    engine = control_engine(settings.control_dsn, timeout_s=10)
    keyring = open_keyring(settings)
    estate = Estate(settings=settings, engine=engine, keyring=keyring, app=load_tenant_app(settings.tenant_app))
    inside, workflows = Inside(estate), DurableWorkflows(engine)
    try:
        yield Tools(estate=estate, inside=inside, workflows=workflows)
    finally:
        inside.close()
        workflows.close()
        engine.dispose()
