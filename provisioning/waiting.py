"""Steps that wait for what others do: each look is short, is told in the workflow's progress, and is repeated later."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from control_plane.domain.errors import SetupError
from control_plane.registry import progress

TELL_EVERY_MS = 300_000
"""What has not changed is told again so often, so that who watches sees that somebody looks."""
MINUTE_MS = 60_000


class StillWaitingError(SetupError):
    """What was waited for has not come in time."""

    code = "still_waiting"


@dataclass(frozen=True, kw_only=True)
class NotYet:
    """What a step returns that has to be asked again."""

    what: str
    """That is waited for, e.g. `RDS instance copyhold-main-acme`."""
    state: str
    """In a word, e.g. `creating`."""
    again_s: float
    at_most_s: float
    """Since it was first asked."""


def go_on(session: Session, workflow_id: str, place: int, step: str, seen: NotYet, waited_ms: int) -> float:
    """After how many seconds the step is to be asked again; StillWaitingError once that has gone on for too long.

    A state that is new, or has lasted, is entered in the progress of the workflow.
    """
    if waited_ms > seen.at_most_s * 1000:
        minutes = round(waited_ms / MINUTE_MS)
        raise StillWaitingError(f"{seen.what} is still {seen.state} after {minutes} minutes; retrying goes on waiting")
    told, said = progress.told(session, workflow_id, place), f"{step}: {seen.state}"
    last = told[-1] if told else None
    if last is None or last.step != said or waited_ms - last.duration_ms > TELL_EVERY_MS:
        position = last.position + 1 if last else place - progress.ROOM + 1
        progress.record(session, workflow_id, position, said, waited_ms)
    return seen.again_s
