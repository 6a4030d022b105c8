"""Runs every check on a pool with a defect in it, and tells which turned red, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from control_plane.routing.refusals import UnsafeHomeError
from tests.isolation import layers, probes
from tests.isolation.cases import Case, Try
from tests.isolation.doors import Inside
from tests.isolation.matrix import Matrix, Outcome
from tests.isolation.mutants import Check, Ground, Red
from tests.isolation.operations import Credential, Served
from tests.isolation.positions import Things
from tests.isolation.statements import faults

TRIES = {Try.THEIR_IDS, Try.THEIR_HOST, Try.LOWER_ROLE, Try.CONTROL}
UNAVAILABLE = 503


def enough(case: Case) -> bool:
    """The part of the matrix that defects are looked for with: by key, where most of it says the same by cookie."""
    return case.how in TRIES and case.credential is not Credential.COOKIE


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All checks, made ready while everything works."""

    ground: Ground
    door: Inside
    """One that has looked at the home while it was whole, so that its guard lets everything pass."""
    whole: Matrix
    database: Matrix
    orm: Matrix
    things: Things

    @classmethod
    def of(cls, ground: Ground, door: Inside, served: Mapping[str, Served]) -> Examination:
        """With everything made that the checks will ask about."""
        door.refresh()
        assert probes.first_visit(door, ground.me) == 200
        ground.me.sweep()
        ground.them.sweep()
        whole, database, orm = (Matrix.of(ground.me, ground.them, served, enough) for _ in range(3))
        things = ground.them.things(ground.them.caller("owner", Credential.KEY))
        return cls(ground=ground, door=door, whole=whole, database=database, orm=orm, things=things)

    def red(self) -> dict[Check, Red]:
        """The checks that turned red."""
        return dict(self._all())

    def _all(self) -> Iterator[tuple[Check, Red]]:
        if self._guard_refuses():
            yield Check.GUARD, Red.TOLD
        yield from _seen(Check.NO_CONTEXT, probes.seen_without_context(self.ground.them))
        yield from _seen(Check.OWNER, probes.seen_by_owner(self.ground.them))
        if probes.written_for(self.door, self.ground.me, self.things):
            yield Check.WRITING, Red.LEAK
        yield from self._whole()
        with layers.orm(criteria=False, default=True):
            yield from _how(Check.DATABASE, self.database.run(self.door))
        with layers.no_row_security(self.ground.home):
            yield from _how(Check.ORM, self.orm.run(self.door))

    def _guard_refuses(self) -> bool:
        """Asked as by a new process: this one has looked at the home before."""
        with Inside(self.ground.me.tenant.platform) as new:
            at_start = isinstance(new.check_shared_homes(), UnsafeHomeError)
            at_a_visit = probes.first_visit(new, self.ground.me) == UNAVAILABLE
        assert at_start == at_a_visit, "the two ways to the guard disagree"
        return at_start

    def _whole(self) -> Iterator[tuple[Check, Red]]:
        self.door.recording, self.door.sent = True, []
        yield from _how(Check.WHOLE, self.whole.run(self.door))
        self.door.recording = False
        if any(faults(sent) for sent in self.door.sent):
            yield Check.STATEMENTS, Red.TOLD


def _how(check: Check, outcome: Outcome) -> Iterator[tuple[Check, Red]]:
    if outcome.wrong:
        yield check, Red.CLOSED if outcome.failed_closed else Red.LEAK


def _seen(check: Check, tables: list[str]) -> Iterator[tuple[Check, Red]]:
    """A table that answers without showing a row is not as it should be, but shows nothing."""
    if tables:
        yield check, Red.TOLD if all(table.endswith(" 0 rows") for table in tables) else Red.LEAK
