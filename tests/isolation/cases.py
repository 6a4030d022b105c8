"""The matrix as data: every operation x every position that names something x every way to try what one may not."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from control_plane.domain.route import Role
from tests.isolation.operations import Credential, Effect, Operation


class Try(enum.StrEnum):
    """A way to ask. All but CONTROL have to be refused, or to show and change nothing."""

    THEIR_IDS = "my credential, my host, their ids"
    DRESSED = "my credential, my host, their row made up as mine"
    NO_HOST = "my key, no tenant's host, their ids"
    THEIR_HOST = "my credential, their host, their ids"
    THEIR_SESSION = "a cookie that says my tenant and their session"
    NO_LOGIN = "nobody signed in, their host, their ids"
    LOWER_ROLE = "a lower role of theirs"
    WRONG_SCOPE = "their owner's key without the scope"
    NEIGHBOUR = "somebody else of theirs"
    CONTROL = "the owner, the same request"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request of the matrix, from a tenant (mine) about another (theirs)."""

    operation: str
    how: Try
    credential: Credential | None
    foreign: frozenset[str] = frozenset()
    """The positions that hold what is theirs; the others hold what is mine."""

    def __str__(self) -> str:
        where = f", {' and '.join(sorted(self.foreign))}" if self.foreign else ""
        by = f" by {self.credential}" if self.credential else ""
        return f"{self.operation}{by}: {self.how}{where}"


def every_case(table: Mapping[str, Operation]) -> list[Case]:
    """The whole matrix of one pair."""
    return [
        case
        for name, operation in table.items()
        for credential in operation.credentials
        for case in cases(name, operation, credential)
    ]


def cases(name: str, operation: Operation, credential: Credential | None) -> list[Case]:
    """Every case of one operation by one credential; the last is their control."""
    tries = _tries(operation, credential)
    return [Case(operation=name, how=how, credential=credential, foreign=foreign) for how, foreign in tries]


def _tries(operation: Operation, credential: Credential | None) -> Iterator[tuple[Try, frozenset[str]]]:
    everywhere = frozenset(operation.ids)
    for foreign in _some_of(operation.ids):
        yield Try.THEIR_IDS, foreign
    for position, what in operation.ids.items():
        if what.can_be_dressed:
            yield Try.DRESSED, frozenset({position})
    if not operation.public:
        if credential is Credential.KEY:
            if any(what.refusals for what in operation.ids.values()):
                yield Try.NO_HOST, everywhere
            yield Try.WRONG_SCOPE, everywhere
        if credential is Credential.COOKIE:
            yield Try.THEIR_SESSION, everywhere
        yield Try.THEIR_HOST, everywhere
        yield Try.NO_LOGIN, everywhere
        if operation.role is not Role.MEMBER:
            yield Try.LOWER_ROLE, everywhere
        if operation.neighbour is not None:
            yield Try.NEIGHBOUR, everywhere
    yield Try.CONTROL, everywhere


def _some_of(ids: Iterable[str]) -> Iterator[frozenset[str]]:
    names = sorted(ids)
    for size in range(1, len(names) + 1):
        yield from map(frozenset, combinations(names, size))


def missing(table: Mapping[str, Operation], made: Iterable[Case]) -> list[str]:
    """What a matrix must hold and these cases do not, told apart from how the cases are made."""
    there = list(made)
    lacks = []
    for name, operation in table.items():
        mine = [case for case in there if case.operation == name]
        for credential in operation.credentials:
            by = [case for case in mine if case.credential is credential]
            lacks += [
                f"{name} by {credential}: {position} never holds another tenant's"
                for position in operation.ids
                if not any(case.how is Try.THEIR_IDS and case.foreign == {position} for case in by)
            ]
            if not operation.public:
                wanted = {Try.THEIR_HOST, Try.NO_LOGIN}
                lacks += [f"{name} by {credential}: no case of {how}" for how in wanted - {case.how for case in by}]
            if [case.how for case in by].count(Try.CONTROL) != 1 or by[-1].how is not Try.CONTROL:
                lacks.append(f"{name} by {credential}: does not end with its control")
        lower = {case.how for case in mine} & {Try.LOWER_ROLE, Try.WRONG_SCOPE}
        if not operation.public and not lower:
            lacks.append(f"{name}: nobody who may less is refused")
    return lacks


def is_write(operation: Operation) -> bool:
    """Whether its success changes rows."""
    return operation.effect is not Effect.READ
