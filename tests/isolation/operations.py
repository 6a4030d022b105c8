"""The classification of every operation of the inbox: who may, what it names, and what it does.

Nothing is left out silently: an operation or an input that stands in the app's OpenAPI and not here is named by
`unclassified`, and so is one that stands here and not there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.domain.route import Role
from tests.isolation.positions import Cursor, Id, Login, NewAddress, Position, Ticket
from tests.platform_under_test import PASSWORD

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
LOOKS_LIKE_AN_ID = re.compile(r"(^|[._])(id|ids|uuid|cursor|after|before|ticket|token|email|key|nonce|slug|tenant)$")
LEFT_OUT = object()
"""For an input that says nothing of whose row is meant, and that a request does without."""
FRESH = object()
"""For an input that is another one in each request, so that what it changes is seen to change."""


class Effect(enum.Enum):
    """What an operation does to the tenant's rows when it succeeds."""

    READ = enum.auto()
    WRITE = enum.auto()
    DELETE = enum.auto()


class Credential(enum.StrEnum):
    """How a caller shows who they are."""

    KEY = "key"
    COOKIE = "cookie"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, as we say it is."""

    role: Role | None
    """The least role that may; None when nobody has to be known."""
    effect: Effect
    success: int = 200
    ids: Mapping[str, Position] = field(default_factory=dict)
    """Every input that names a row, by where it stands: path.x, query.x, body.x."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Every other input, and what a request holds there."""
    persons_only: bool = False
    """Whether it can succeed with a session alone, or has no effect with a key."""
    neighbour: int | None = None
    """How somebody else of the same tenant and of the least role is refused; None when they may as well."""
    ends_session: bool = False
    shows_canary: bool = False
    """Whether the owner's answer holds what only the owner may read."""

    @property
    def public(self) -> bool:
        """Whether nobody has to be known."""
        return self.role is None

    @property
    def credentials(self) -> tuple[Credential | None, ...]:
        """Those that make a difference; just None for a public operation."""
        return (None,) if self.public else tuple(Credential)


READ, WRITE, DELETE = Effect.READ, Effect.WRITE, Effect.DELETE
MEMBER, ADMIN = Role.MEMBER, Role.ADMIN
CONVERSATION = {"path.conversation_id": Id("conversation")}
MESSAGE = {**CONVERSATION, "path.message_id": Id("message")}
USER = {"path.user_id": Id("user")}
PAGE: Mapping[str, object] = {"query.limit": LEFT_OUT}


def _paged(after: str, listed: str) -> dict[str, Position]:
    return {"query.after": Cursor(after, lambda things: listed.format(things=things))}


OPERATIONS: Mapping[str, Operation] = {
    "get_front": Operation(role=None, effect=READ),
    "login": Operation(role=None, effect=WRITE, ids={"body.email": Login()}, values={"body.password": PASSWORD}),
    "enter": Operation(role=None, effect=WRITE, success=303, ids={"query.ticket": Ticket()}),
    "logout": Operation(role=MEMBER, effect=WRITE, success=204, persons_only=True, ends_session=True),
    "list_sessions": Operation(
        role=MEMBER, effect=READ, persons_only=True, ids=_paged("session", "sessions/{things.session_of}"), values=PAGE
    ),
    "end_session": Operation(
        role=MEMBER,
        effect=WRITE,
        success=204,
        persons_only=True,
        neighbour=404,
        ids={"path.session_id": Id("session")},
    ),
    "get_me": Operation(role=MEMBER, effect=READ),
    "change_me": Operation(
        role=MEMBER,
        effect=WRITE,
        persons_only=True,
        values={"body.name": FRESH, "body.password": LEFT_OUT, "body.current_password": LEFT_OUT},
    ),
    "list_users": Operation(role=MEMBER, effect=READ, ids=_paged("user", "users"), values=PAGE, shows_canary=True),
    "create_user": Operation(
        role=ADMIN,
        effect=WRITE,
        success=201,
        ids={"body.email": NewAddress()},
        values={"body.name": "A Newcomer", "body.role": LEFT_OUT, "body.password": LEFT_OUT},
    ),
    "get_user": Operation(role=MEMBER, effect=READ, ids=USER, shows_canary=True),
    "change_user": Operation(
        role=ADMIN,
        effect=WRITE,
        ids=USER,
        values={"body.name": "Another Name", "body.role": LEFT_OUT, "body.disabled": LEFT_OUT},
    ),
    "disable_user": Operation(role=ADMIN, effect=DELETE, success=204, ids=USER),
    "list_conversations": Operation(
        role=MEMBER, effect=READ, ids=_paged("conversation", "conversations"), values=PAGE, shows_canary=True
    ),
    "create_conversation": Operation(role=MEMBER, effect=WRITE, success=201, values={"body.subject": "A matter"}),
    "get_conversation": Operation(role=MEMBER, effect=READ, ids=CONVERSATION, shows_canary=True),
    "change_conversation": Operation(
        role=MEMBER, effect=WRITE, ids=CONVERSATION, values={"body.subject": "Another matter"}
    ),
    "delete_conversation": Operation(role=ADMIN, effect=DELETE, success=204, ids=CONVERSATION),
    "list_messages": Operation(
        role=MEMBER,
        effect=READ,
        ids={**CONVERSATION, **_paged("message", "messages/{things.conversation}/oldest")},
        values={**PAGE, "query.order": LEFT_OUT},
        shows_canary=True,
    ),
    "create_message": Operation(
        role=MEMBER, effect=WRITE, success=201, ids=CONVERSATION, values={"body.body": "Something said"}
    ),
    "get_message": Operation(role=MEMBER, effect=READ, ids=MESSAGE, shows_canary=True),
    "change_message": Operation(
        role=MEMBER, effect=WRITE, neighbour=403, ids=MESSAGE, values={"body.body": "Said otherwise"}
    ),
    "delete_message": Operation(role=MEMBER, effect=DELETE, success=204, neighbour=403, ids=MESSAGE),
}


@dataclass(frozen=True, kw_only=True)
class Served:
    """One operation as the app's OpenAPI has it; `inputs` are path.x, query.x, header.x, cookie.x and body.x."""

    id: str
    method: str
    path: str
    inputs: Mapping[str, Mapping[str, Any]]
    """Each input with its schema."""


def served(document: Mapping[str, Any]) -> dict[str, Served]:
    """Every operation of an OpenAPI document by its id."""
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in METHODS:
                raise AssertionError(f"{path} has {method!r}, which this reader of OpenAPI does not know")
            operation_id = operation["operationId"]
            assert operation_id not in found, f"two operations are called {operation_id}"
            inputs = dict(_inputs(operation, document))
            found[operation_id] = Served(id=operation_id, method=method.upper(), path=path, inputs=inputs)
    return found


def unclassified(found: Mapping[str, Served], table: Mapping[str, Operation]) -> list[str]:
    """A sentence for each operation and input that is in one of the two alone, or that is said to be harmless but
    looks like the name of something."""
    wrong = [f"{name}: nobody classified this operation" for name in found.keys() - table.keys()]
    wrong += [f"{name}: there is no such operation" for name in table.keys() - found.keys()]
    for name in found.keys() & table.keys():
        said, there = table[name], found[name].inputs
        known = said.ids.keys() | said.values.keys()
        wrong += [f"{name}: nobody classified the input {each}" for each in there.keys() - known]
        wrong += [f"{name}: there is no input {each}" for each in known - there.keys()]
        wrong += [
            f"{name}: {each} looks like the name of something, but is classified as a plain value"
            for each in said.values.keys() & there.keys()
            if LOOKS_LIKE_AN_ID.search(each) or "uuid" in str(there[each])
        ]
    return sorted(wrong)


def _inputs(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for parameter in operation.get("parameters", ()):
        yield f"{parameter['in']}.{parameter['name']}", parameter["schema"]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield from _fields("body", media["schema"], document)


def _fields(at: str, schema: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The leaves of a body, however they are nested."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    either = (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ()))
    if either:
        for one in either:
            yield from _fields(at, one, document)
    elif "items" in schema:
        yield from _fields(f"{at}[]", schema["items"], document)
    elif "properties" in schema:
        for name, inner in schema["properties"].items():
            yield from _fields(f"{at}.{name}", inner, document)
    else:
        yield at, schema
