"""Expand and contract: which homes and which running processes go together, before and after a migration.

An app that knows a chain up to one revision works with a later one while every revision between them `expands`. So a
home asks of an app that it knows the newest revision there that does not. `needed` says which, `publish` writes it on
the roll, and routes carry it to whoever serves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from control_plane.domain.compatibility import AppRange
from control_plane.domain.errors import ConflictError
from control_plane.registry import processes, revisions
from control_plane.registry.processes import ALIVE_S
from control_plane.registry.tables import ProcessRow
from migrations.fleet.chains import Chain


class OldProcessesError(ConflictError):
    """Running processes do not work with that revision."""

    code = "old_processes"


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """A living process that serves homes now and would not any more."""

    kind: str
    place: str
    code_version: str
    revisions: tuple[str, ...]
    """Those that it works with, oldest first."""

    @property
    def newest(self) -> str:
        """The newest revision that it knows."""
        return self.revisions[-1]

    def __str__(self) -> str:
        known = f"{self.revisions[0]} to {self.newest}" if len(self.revisions) > 1 else self.newest
        return f"{self.kind} {self.place} ({self.code_version}), which knows {known}"


def needed(chain: Chain, revision: str | None) -> str | None:
    """The oldest revision that an app has to know to work with a home at `revision`; None when the chain is no help."""
    known = chain.up_to(revision) if revision is not None else ()
    contracts = (each for each in reversed(known) if not chain.described(each).expands)
    return next(contracts, known[0] if known else None)


def publish(session: Session, chain: Chain) -> None:
    """Write on the roll what each revision of the chain asks of the app. Before a home is brought to a new one."""
    revisions.publish(session, {name: needed(chain, name) or name for name in chain.revisions})


def older(chain: Chain, known: Collection[str]) -> frozenset[str]:
    """The chain's revisions before the newest of those that an app works with: it is past the others."""
    newest = next((each for each in reversed(chain.revisions) if each in known), None)
    return frozenset(chain.up_to(newest) if newest is not None else ()).difference(known)


def serves(chain: Chain, known: Collection[str], revision: str | None) -> bool:
    """Whether an app that works with the revisions `known` serves a home at `revision`."""
    return AppRange(revisions=known, older=older(chain, known)).serves(revision, needed(chain, revision))


def blockers(
    running: Iterable[ProcessRow], chain: Chain, wanted: str, leaving: Collection[str | None] | None = None
) -> list[Blocker]:
    """The processes that serve homes at one of `leaving`, and would not at `wanted`.

    `leaving` are the revisions of the homes that are to be brought there, from below or from above; without it, every
    revision before `wanted`.
    """
    from_where = chain.up_to(wanted)[:-1] if leaving is None else tuple(leaving)
    return [
        _blocker(process, chain)
        for process in running
        if not serves(chain, process.revisions, wanted)
        and any(serves(chain, process.revisions, revision) for revision in from_where)
    ]


def blocking(
    session: Session,
    chain: Chain,
    wanted: str,
    leaving: Collection[str | None] | None = None,
    *,
    now: datetime | None = None,
) -> list[Blocker]:
    """`blockers` among the processes that are alive at `now`, by the database's own clock without it."""
    return blockers(processes.living(session, now), chain, wanted, leaving)


def refuse_contract(found: Sequence[Blocker], wanted: str) -> None:
    """OldProcessesError, naming each and saying what to do, unless nobody is `blocking`.

    A process that is cut off from the control database is not among them, and neither is one that starts after this.
    """
    if found:
        named = "; ".join(str(blocker) for blocker in found)
        raise OldProcessesError(
            f"homes at {wanted} are not served by {_counted(len(found))}: {named}. Put a version that works with"
            f" {wanted} in their place or stop them, then repeat (one that was killed counts for {ALIVE_S:.0f} s more)",
            wanted=wanted,
            blockers=tuple(found),
        )


def _blocker(process: ProcessRow, chain: Chain) -> Blocker:
    order = {revision: position for position, revision in enumerate(chain.revisions)}
    # One that this chain does not know is ahead of it.
    known = sorted(process.revisions, key=lambda revision: (order.get(revision, len(order)), revision))
    return Blocker(kind=process.kind, place=process.place, code_version=process.code_version, revisions=tuple(known))


def _counted(number: int) -> str:
    return "a running process" if number == 1 else f"{number} running processes"
