"""The roll on disk: whole or not at all, of this platform or refused, and nothing in it that may not be read."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.route import ApiKey, Home, Role, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.keyring import Keyring
from control_plane.routing.credentials import new_key
from control_plane.routing.snapshot import RollSnapshot, SnapshotError, load, save

KEYRING = Keyring(bytes(range(32)))
PASSWORD = "opensesame"


def route(slug: str, **changes: object) -> Route:
    database = new_id()
    home = Home(
        database_id=database,
        alias="pool_1",
        database="pool_1",
        login="pool_1",
        schema="public",
        sealed_password=KEYRING.seal(PASSWORD, belongs_to=str(database)),
    )
    key = ApiKey(id=new_id(), name="Schlüssel", role=Role.ADMIN, scopes=("read",), secret_sha256="ab" * 32)
    whole = Route(
        tenant_id=new_id(),
        slug=slug,
        name="Ärzte & Söhne",
        plan=Plan.STARTER,
        model=Model.POOL,
        status=Status.ACTIVE,
        epoch=3,
        revision="0002",
        needs="0001",
        home=home,
        keys=(key,),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture
def snapshot() -> RollSnapshot:
    return RollSnapshot.of(
        [
            route("whole"),
            route("unready", home=None, epoch=0, revision=None, needs=None, status=Status.PROVISIONING, keys=()),
            route("suspended", status=Status.SUSPENDED),
            route("closed", status=Status.CLOSED),
        ],
        version=42,
    )


@pytest.fixture
def file(snapshot: RollSnapshot, tmp_path: Path) -> Path:
    path = tmp_path / "snapshot" / "roll.json"
    save(snapshot, path, KEYRING)
    return path


def test_what_is_read_is_what_was_written(snapshot: RollSnapshot, file: Path) -> None:
    read = load(file, KEYRING)
    assert read.by_id == snapshot.by_id
    assert read.by_slug == snapshot.by_slug
    assert (read.version, read.taken_at) == (42, snapshot.taken_at)


def test_what_was_written_before_is_written_as_it_is_now(snapshot: RollSnapshot, file: Path) -> None:
    old = snapshot.by_slug["whole"]
    new = replace(old, epoch=old.epoch + 1, keys=())
    save(snapshot.changed([new], 8), file, KEYRING)
    assert load(file, KEYRING).by_id == {**snapshot.by_id, old.tenant_id: new}
    assert new.as_json != old.as_json
    assert old.as_json is old.as_json, "thousands are not made anew each second"


def test_a_file_from_before_homes_said_what_they_need_is_read(snapshot: RollSnapshot, file: Path) -> None:
    document = json.loads(file.read_bytes().partition(b"\n")[2])
    for each in document["routes"]:
        del each["needs"]
    body = json.dumps(document).encode()
    file.write_bytes(KEYRING.mac("snapshot", body).hex().encode() + b"\n" + body)
    assert load(file, KEYRING).by_id == {key: replace(each, needs=None) for key, each in snapshot.by_id.items()}


def test_nothing_in_it_lets_anybody_in(snapshot: RollSnapshot, file: Path) -> None:
    content = file.read_text()
    text, _ = new_key(UUID(int=1))
    assert PASSWORD not in content
    assert text not in content
    assert "sealed_password" in content
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0


def forged(file: Path, change: bytes, to: bytes) -> None:
    content = file.read_bytes()
    assert change in content
    file.write_bytes(content.replace(change, to))


@pytest.mark.parametrize(
    ("change", "to"),
    [
        (b'"suspended", "name"', b'"somebody", "name"'),
        (b'"status": "suspended"', b'"status": "active"'),
        (b'"status": "closed"', b'"status": "active"'),
        (b'"role": "admin"', b'"role": "owner"'),
        (b'"epoch": 3', b'"epoch": 4'),
        (b'"version": 42', b'"version": 43'),
        (b"}", b"} "),
        (b"\n", b"\n\n"),
    ],
)
def test_a_snapshot_that_was_changed_is_refused(file: Path, change: bytes, to: bytes) -> None:
    forged(file, change, to)
    with pytest.raises(SnapshotError, match="signature"):
        load(file, KEYRING)


def test_a_snapshot_that_is_cut_short_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for kept in (0, 1, 63, 64, 65, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        with pytest.raises(SnapshotError, match="signature"):
            load(file, KEYRING)


def test_a_snapshot_of_another_platform_is_refused(file: Path) -> None:
    with pytest.raises(SnapshotError, match="signature"):
        load(file, Keyring(os.urandom(32)))


def test_a_signature_for_another_purpose_is_refused(file: Path) -> None:
    body = file.read_bytes().partition(b"\n")[2]
    file.write_bytes(KEYRING.mac("cookie/session", body).hex().encode() + b"\n" + body)
    with pytest.raises(SnapshotError, match="signature"):
        load(file, KEYRING)


def test_a_snapshot_of_another_format_is_refused(file: Path) -> None:
    document = json.loads(file.read_bytes().partition(b"\n")[2])
    body = json.dumps({**document, "format": 99}).encode()
    file.write_bytes(KEYRING.mac("snapshot", body).hex().encode() + b"\n" + body)
    with pytest.raises(SnapshotError, match="another version"):
        load(file, KEYRING)


def test_a_snapshot_with_words_of_a_newer_version_is_refused(file: Path) -> None:
    body = file.read_bytes().partition(b"\n")[2].replace(b'"starter"', b'"from the future"')
    file.write_bytes(KEYRING.mac("snapshot", body).hex().encode() + b"\n" + body)
    with pytest.raises(SnapshotError, match="another version"):
        load(file, KEYRING)


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "roll.json"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(os.urandom(1000))
    with pytest.raises(SnapshotError):
        load(path, KEYRING)


def test_a_reader_meets_the_old_or_the_new_one_and_never_half(snapshot: RollSnapshot, tmp_path: Path) -> None:
    path = tmp_path / "roll.json"
    many = RollSnapshot.of([route(f"tenant-{number}") for number in range(300)], version=43)
    save(snapshot, path, KEYRING)
    ending = threading.Event()

    def write() -> None:
        while not ending.is_set():
            for each in (snapshot, many):
                save(each, path, KEYRING)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {load(path, KEYRING).version for _ in range(40)}
    finally:
        ending.set()
        writer.join()
    assert seen <= {42, 43}


def test_a_full_disk_leaves_the_old_one(snapshot: RollSnapshot, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(replace(snapshot, version=99), file, KEYRING)
    assert load(file, KEYRING).version == 42


def test_a_snapshot_in_memory_cannot_be_changed(snapshot: RollSnapshot) -> None:
    assert isinstance(snapshot.by_id, MappingProxyType)
    changed = snapshot.changed([route("more")], 43)
    assert (len(snapshot.by_id), len(changed.by_id)) == (4, 5)
    assert snapshot.version == 42
