"""What a case sends, and what may come of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from control_plane.domain.route import Role
from control_plane.routing.credentials import COOKIE
from control_plane.routing.visitor import SAFE_METHODS
from tests.isolation.cases import Case, Try, is_write
from tests.isolation.doors import Ask
from tests.isolation.operations import FRESH, LEFT_OUT, OPERATIONS, Credential, Operation, Served
from tests.isolation.positions import Things
from tests.isolation.world import Holder, World


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All that the cases of one operation and credential are about; made before anything is asked."""

    served: Served
    credential: Credential | None
    me: World
    them: World
    intruder: Holder
    """An owner of mine: nobody may more."""
    owner: Holder
    """Of theirs, with the least role that may."""
    mine: Things
    theirs: Things

    @classmethod
    def of(cls, served: Served, credential: Credential | None, me: World, them: World) -> Stage:
        """A stage with new things on both sides."""
        operation = OPERATIONS[served.id]
        shown = Credential.COOKIE if operation.persons_only or credential is None else credential
        owner = them.caller(str(operation.role or Role.MEMBER), shown)
        if operation.ends_session:
            owner = them.signed_in(owner.user)
        intruder = me.caller(str(Role.OWNER), credential or Credential.COOKIE)
        return cls(
            served=served,
            credential=credential,
            me=me,
            them=them,
            intruder=intruder,
            owner=owner,
            mine=me.things(intruder),
            theirs=them.things(owner),
        )

    @property
    def operation(self) -> Operation:
        """As it is classified."""
        return OPERATIONS[self.served.id]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request and what is right about its answer."""

    ask: Ask
    statuses: frozenset[int]
    twin: Ask | None = None
    """The same about nothing at all: its answer must be the same."""
    seen: World | None = None
    """Whose canary the answer may hold."""
    changed: World | None = None
    """Whose rows have to be other ones afterwards. All others have to be the same."""


def attempt(stage: Stage, case: Case) -> Attempt:
    """What the case does on that stage."""
    return _ATTEMPTS[case.how](stage, case)


def _their_ids(stage: Stage, case: Case) -> Attempt:
    return _as_me(stage, case.foreign, stage.me.host)


def _no_host(stage: Stage, case: Case) -> Attempt:
    _, _, port = stage.me.host.partition(":")
    return _as_me(stage, case.foreign, f"localhost:{port}")


def _as_me(stage: Stage, foreign: frozenset[str], host: str) -> Attempt:
    ids = stage.operation.ids

    def about(whose: Things) -> Ask:
        held = {at: ids[at].foreign(whose) if at in foreign else ids[at].of(stage.mine) for at in ids}
        return _ask(stage, held, host, stage.intruder)

    return Attempt(
        ask=about(stage.theirs),
        twin=about(stage.theirs.nobodys()),
        statuses=_refusals(stage.operation, foreign),
        seen=stage.me,
        changed=_if_harmless(stage, foreign),
    )


def _dressed(stage: Stage, case: Case) -> Attempt:
    ids = stage.operation.ids

    def about(whose: Things) -> Ask:
        held = {at: ids[at].dressed(whose, stage.mine) if at in case.foreign else ids[at].of(stage.mine) for at in ids}
        return _ask(stage, held, stage.me.host, stage.intruder)

    return Attempt(
        ask=about(stage.theirs),
        twin=about(stage.theirs.nobodys()),
        statuses=_refusals(stage.operation, case.foreign),
        seen=stage.me,
    )


def _their_host(stage: Stage, _case: Case) -> Attempt:
    nobody = f"ch_{stage.them.id.hex}_{secrets.token_urlsafe(32)}"
    if stage.credential is Credential.COOKIE:
        nobody = secrets.token_urlsafe(66)
    assert stage.credential is not None
    nobodys = Holder(user=stage.mine.holder, credential=stage.credential, shown=nobody)
    return Attempt(ask=_their_ask(stage, stage.intruder), twin=_their_ask(stage, nobodys), statuses=frozenset({401}))


def _their_session(stage: Stage, _case: Case) -> Attempt:
    def about(whose: Things) -> Ask:
        cookie = {"Cookie": f"{COOKIE}={stage.me.cookie_of(whose.session)}"}
        held = {at: what.of(stage.mine) for at, what in stage.operation.ids.items()}
        return _ask(stage, held, stage.me.host, cookie)

    return Attempt(ask=about(stage.theirs), twin=about(stage.theirs.nobodys()), statuses=frozenset({401}))


def _no_login(stage: Stage, _case: Case) -> Attempt:
    return Attempt(ask=_their_ask(stage, None), statuses=frozenset({401}))


def _lower_role(stage: Stage, _case: Case) -> Attempt:
    assert stage.operation.role is not None
    assert stage.credential is not None
    lower = list(Role)[list(Role).index(stage.operation.role) - 1]
    return Attempt(ask=_their_ask(stage, stage.them.caller(str(lower), stage.credential)), statuses=frozenset({403}))


def _wrong_scope(stage: Stage, _case: Case) -> Attempt:
    scope = "write" if stage.served.method in SAFE_METHODS else "read"
    return Attempt(ask=_their_ask(stage, stage.them.narrow[scope]), statuses=frozenset({403}))


def _neighbour(stage: Stage, _case: Case) -> Attempt:
    assert stage.operation.neighbour is not None
    assert stage.credential is not None
    neighbour = stage.them.caller("neighbour", stage.credential)
    return Attempt(ask=_their_ask(stage, neighbour), statuses=frozenset({stage.operation.neighbour}))


def _control(stage: Stage, _case: Case) -> Attempt:
    return Attempt(
        ask=_their_ask(stage, None if stage.operation.public else stage.owner),
        statuses=frozenset({stage.operation.success}),
        seen=stage.them,
        changed=stage.them if is_write(stage.operation) else None,
    )


def control_with_everything(stage: Stage) -> Ask:
    """The control with the inputs that it otherwise leaves out."""
    held = {at: what.of(stage.theirs) for at, what in stage.operation.ids.items()}
    return _ask(stage, held, stage.them.host, stage.owner)


def _their_ask(stage: Stage, by: Holder | None) -> Ask:
    held = {at: what.of(stage.theirs) for at, what in stage.operation.ids.items() if not what.optional}
    return _ask(stage, held, stage.them.host, by)


def _ask(stage: Stage, held: Mapping[str, str], host: str, by: Holder | Mapping[str, str] | None) -> Ask:
    values = {
        at: f"New {uuid4().hex}" if value is FRESH else value
        for at, value in stage.operation.values.items()
        if value is not LEFT_OUT
    }
    parts: dict[str, dict[str, object]] = {"path": {}, "query": {}, "body": {}}
    for at, value in {**values, **held}.items():
        part, _, name = at.partition(".")
        parts[part][name] = value
    shown = by.headers if isinstance(by, Holder) else by or {}
    return Ask(
        method=stage.served.method,
        path=stage.served.path.format(**parts["path"]),
        host=host,
        headers={} if stage.operation.public else shown,
        query={name: str(value) for name, value in parts["query"].items()},
        body=parts["body"] or None,
    )


def _refusals(operation: Operation, foreign: Iterable[str]) -> frozenset[int]:
    """Naming one thing that has to be refused is enough; a cursor then no longer belongs to the list, either."""
    named = [operation.ids[at] for at in foreign]
    if all(what.harmless for what in named):
        return frozenset().union(*(what.harmless | what.refusals for what in named))
    return frozenset().union(*(what.refusals for what in operation.ids.values()))


def _if_harmless(stage: Stage, foreign: Iterable[str]) -> World | None:
    harmless = all(stage.operation.ids[at].harmless for at in foreign)
    return stage.me if harmless and is_write(stage.operation) else None


_ATTEMPTS: Mapping[Try, Callable[[Stage, Case], Attempt]] = {
    Try.THEIR_IDS: _their_ids,
    Try.DRESSED: _dressed,
    Try.NO_HOST: _no_host,
    Try.THEIR_HOST: _their_host,
    Try.THEIR_SESSION: _their_session,
    Try.NO_LOGIN: _no_login,
    Try.LOWER_ROLE: _lower_role,
    Try.WRONG_SCOPE: _wrong_scope,
    Try.NEIGHBOUR: _neighbour,
    Try.CONTROL: _control,
}
