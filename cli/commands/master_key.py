"""`copyhold master-key …`: the key that everything sealed and signed rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from cli import output
from cli.loading import command_group
from cli.options import DataOption, JsonOption
from cli.wiring import Platform, open_platform
from control_plane import audit
from control_plane.domain.errors import ConflictError, UsageError
from control_plane.registry.engine import transaction
from control_plane.stores.master_keys import Changeable, KeyFile, KeyVariable, KmsFile, source_of
from provisioning import rekeying

app = command_group()


class KeysShown(TypedDict):
    """The ids of the master keys, the current one first, and what is still under others."""

    current: str
    before: list[str]
    homes: int
    secrets: int


@app.command()
def new(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where it is to be.", show_default=False)],
    kms: Annotated[str | None, typer.Option("--kms", metavar="KEY", help="Sealed under this key of AWS KMS.")] = None,
    with_current: Annotated[
        bool, typer.Option("--with-current", help="With the keys that the platform has now, not with a new one.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Make a file with a master key, for COPYHOLD_MASTER_KEY_FILE or, with --kms, COPYHOLD_MASTER_KEY_KMS.

    \b
    Example: copyhold master-key new /etc/copyhold/master.key
    Example: copyhold master-key new /etc/copyhold/master.kms --kms alias/copyhold --with-current
    """
    if path.exists():
        raise ConflictError(f"{path} is there already")
    keys: tuple[bytes, ...] = ()
    if with_current:
        with open_platform(data) as platform:
            keys = source_of(platform.settings).read()
    if kms is not None:
        KmsFile(path=path).create(kms, keys)
    else:
        KeyFile(path=path).create(keys)
    output.say(f"{path} is written; keep a copy where nobody finds both it and a backup")


@app.command()
def rotate(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Put a new master key in the current one's place, while requests go on. Repeat it when it was cut short.

    What the one before signed is good until `copyhold master-key forget`: people stay signed in. A key that came in a
    variable is not made here: start every process with COPYHOLD_MASTER_KEY=OLD,NEW, then with NEW,OLD, then do this.

    Example: copyhold master-key rotate
    """
    with open_platform(data) as platform:
        begin(platform)
        done = rekeying.rekey(
            platform.estate, platform.actor, lambda name: None if as_json else output.say(f"  {name}")
        )
        ids = platform.keyring.ids
    if as_json:
        output.print_json(KeysShown(current=ids[0], before=list(ids[1:]), homes=done.homes, secrets=done.secrets))
    else:
        output.say(f"{ids[0]} is the master key: {done.homes} homes and {done.secrets} passwords were put under it")
        output.note("when nobody needs to stay signed in from before: copyhold master-key forget --yes")


@app.command()
def forget(
    yes: Annotated[bool, typer.Option("--yes", help="Whoever signed in before the change has to do so again.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make every master key but the current one worthless. Refused while anything but sessions rests on another.

    Example: copyhold master-key forget --yes
    """
    if not yes:
        raise UsageError("whoever signed in before the last `copyhold master-key rotate` has to do so again: --yes")
    with open_platform(data) as platform:
        gone = forget_others(platform)
        current = platform.keyring.ids[0]
    if as_json:
        output.print_json(KeysShown(current=current, before=[], homes=0, secrets=0))
    else:
        output.say(f"{', '.join(gone)} is worthless; {current} is the master key" if gone else "there is no other")


def begin(platform: Platform) -> None:
    """Have a new current key, unless one is on its way already."""
    if len(platform.keyring.ids) > 1:
        return
    _changeable(platform).add()
    platform.keyring.refresh()


def forget_others(platform: Platform) -> tuple[str, ...]:
    """Take all master keys away but the current one, and wait until every process has; the ids of those taken."""
    others = platform.keyring.ids[1:]
    rekeying.refuse_to_forget(platform.estate)
    if others:
        _changeable(platform).forget()
        platform.keyring.refresh()
        with transaction(platform.engine) as session:
            audit.record(session, platform.actor, "master_key.forget", ", ".join(others))
    rekeying.await_forgotten(platform.estate)
    return others


def _changeable(platform: Platform) -> Changeable:
    source = source_of(platform.settings)
    if isinstance(source, KeyVariable):
        raise UsageError(
            "the master key is in a variable: start every process with other ones (docs/operations/keys.md)"
        )
    assert isinstance(source, KeyFile | KmsFile)
    return source
