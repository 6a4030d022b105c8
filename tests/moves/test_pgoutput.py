"""The decoder knows every message that a server can send, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from control_plane.domain.server import Server
from control_plane.doors import SOCKETS
from provisioning.moves.errors import DamagedStreamError
from provisioning.moves.lsn import Lsn, lsn_text, parse_lsn
from provisioning.moves.messages import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Relation,
    RelationColumn,
    Told,
    Truncate,
    Type,
    Update,
)
from provisioning.moves.pgoutput import decode
from provisioning.moves.places import Place, source_of
from provisioning.moves.slots import create_slot
from provisioning.moves.stream import Data, Stream
from provisioning.roles import SUPERUSER, connect


def packed(form: str, *values: object) -> bytes:
    """In the byte order of the network."""
    return struct.pack(f"!{form}", *values)


ROW = packed("h", 4) + b"t" + packed("i", 3) + b"\0ab" + b"n" + b"u" + b"t" + packed("i", 0)
VALUES = (b"\0ab", None, UNCHANGED, b"")
COLUMNS = b"\1id\0" + packed("Ii", 2950, -1) + b"\0body \xc3\xa4\0" + packed("Ii", 25, -1)
MESSAGES: dict[bytes, Message] = {
    b"B" + packed("QqI", 1 << 40, -5, 4_000_000_000): Begin(Lsn(1 << 40), 4_000_000_000),
    b"C\0" + packed("QQq", 7, 8, 9): Commit(Lsn(7), Lsn(8)),
    b"R" + packed("I", 9) + b"t_1\0users\0f" + packed("h", 2) + COLUMNS: Relation(
        9, "t_1", "users", "f", (RelationColumn("id", True), RelationColumn("body ä", False))
    ),
    b"R" + packed("I", 9) + b"\0x\0n" + packed("h", 0): Relation(9, "pg_catalog", "x", "n", ()),
    b"I" + packed("I", 9) + b"N" + ROW: Insert(9, VALUES),
    b"U" + packed("I", 9) + b"N" + ROW: Update(9, None, VALUES),
    b"U" + packed("I", 9) + b"K" + ROW + b"N" + ROW: Update(9, VALUES, VALUES),
    b"U" + packed("I", 9) + b"O" + ROW + b"N" + ROW: Update(9, VALUES, VALUES),
    b"D" + packed("I", 9) + b"K" + ROW: Delete(9, VALUES),
    b"D" + packed("I", 9) + b"O" + ROW: Delete(9, VALUES),
    b"T" + packed("IBII", 2, 1, 9, 10): Truncate((9, 10)),
    b"M\1" + packed("Q", 7) + b"mv_1\0" + packed("I", 3) + b"a\0b": Told(True, Lsn(7), "mv_1", b"a\0b"),
    b"O" + packed("Q", 7) + b"elsewhere\0": Origin(Lsn(7), "elsewhere"),
    b"Y" + packed("I", 9) + b"t_1\0mood\0": Type(9, "t_1", "mood"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), MESSAGES.items(), ids=[type(each).__name__ for each in MESSAGES.values()])
def test_a_message_is_what_it_says(data: bytes, message: Message) -> None:
    assert decode(data) == message
    assert type(decode(data)) is type(message)


@pytest.mark.parametrize("data", MESSAGES, ids=[type(each).__name__ for each in MESSAGES.values()])
def test_a_message_that_is_cut_off_or_goes_on_is_refused(data: bytes) -> None:
    for broken in (*(data[:end] for end in range(len(data))), data + b"\0"):
        with pytest.raises(DamagedStreamError):
            decode(broken)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"S" + bytes(5),
        b"x",
        b"I" + packed("I", 9) + b"K" + ROW,
        b"U" + packed("I", 9) + b"K" + ROW + b"O" + ROW,
        b"D" + packed("I", 9) + b"N" + ROW,
        b"I" + packed("I", 9) + b"N" + packed("h", 1) + b"b" + packed("i", 1) + b"a",
        b"I" + packed("I", 9) + b"N" + packed("h", 1) + b"t" + packed("i", -2),
    ],
)
def test_what_is_no_message_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedStreamError):
        decode(data)


def test_places_in_the_log_are_read_and_written() -> None:
    assert parse_lsn("16/B374D848") == 0x16_B374_D848
    assert lsn_text(Lsn(0x16_B374_D848)) == "16/B374D848"
    assert lsn_text(parse_lsn("0/0")) == "0/0"
    with pytest.raises(ValueError, match="invalid literal"):
        parse_lsn("16")


WORK = """
CREATE TYPE public.mood AS ENUM ('sad', 'glad');
CREATE TABLE public.all_of_it (id int PRIMARY KEY, mood public.mood, big text);
ALTER TABLE public.all_of_it ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE PUBLICATION mv_all FOR TABLE public.all_of_it
"""
CHANGES = (
    "SELECT pg_replication_origin_create('elsewhere')",
    "SELECT pg_replication_origin_session_setup('elsewhere')",
    "INSERT INTO public.all_of_it VALUES (1, 'glad', repeat('x', 9000))",
    "UPDATE public.all_of_it SET mood = NULL",
    "UPDATE public.all_of_it SET id = 2",
    "SELECT pg_logical_emit_message(true, 'told', 'content')",
    "DELETE FROM public.all_of_it",
    "TRUNCATE public.all_of_it",
)


def test_all_that_a_server_sends_is_understood(one: Server) -> None:
    with connect(SOCKETS.dsn(one, "postgres", SUPERUSER)) as admin:
        admin.execute("CREATE DATABASE decoded")
    place = Place(dsn=SOCKETS.dsn(one, "decoded", SUPERUSER), schema="public", name="tests")
    came: list[Message] = []
    with source_of(place) as source, Stream.opened(place, "mv_all") as stream:
        source.execute(WORK.encode())
        slot = create_slot(stream.connection, source, "mv_all", temporary=True, snapshot=False)
        stream.start(slot.start)
        for change in CHANGES:
            source.execute(change.encode())
        while not any(isinstance(message, Truncate) for message in came):
            frame = stream.read(10)
            assert frame is not None
            came += [decode(frame.payload)] if isinstance(frame, Data) else []

    def of(kind: Callable[..., Message]) -> list[Message]:
        return [message for message in came if type(message) is kind]

    (relation,) = {message for message in came if isinstance(message, Relation)}
    big = b"x" * 9000
    assert of(Insert) == [Insert(relation.oid, (b"1", b"glad", big))]
    assert of(Update) == [
        Update(relation.oid, None, (b"1", None, UNCHANGED)),
        Update(relation.oid, (b"1", None, None), (b"2", None, UNCHANGED)),
    ]
    assert of(Delete) == [Delete(relation.oid, (b"2", None, None))]
    assert of(Truncate) == [Truncate((relation.oid,))]
    assert [each[-2:] for each in of(Told)] == [("told", b"content")]
    assert {each[-1] for each in of(Origin)} == {"elsewhere"}
    assert {each[-2:] for each in of(Type)} == {("public", "mood")}
    begun = [message.commit_lsn for message in came if isinstance(message, Begin)]
    ended = [message for message in came if isinstance(message, Commit)]
    assert [message.commit_lsn for message in ended] == begun[: len(ended)]
    assert all(message.commit_lsn < message.end_lsn for message in ended)
