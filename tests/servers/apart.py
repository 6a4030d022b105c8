"""A network of two: this machine, and a namespace in which a server runs. It can be cut so that nobody is told.

Needs root and iproute2: whoever is no root may run the tests in a machine or container of their own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

NOBODY = "02:00:00:00:de:ad"
"""Who has this address takes no part: what is sent there is lost, and nobody is told."""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """The namespace, the two ends of the line to it, and their addresses."""

    name: str
    here: str
    there: str

    def inside(self, *command: str) -> list[str]:
        """That command as it is run in the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def cut(self) -> None:
        """Lose all that is sent, both ways, until `mend`. No connection is closed, and no interface goes down."""
        lost = ("lladdr", NOBODY, "nud", "permanent")
        _run(*_neighbour("replace", self.there, f"{self.name}h"), *lost)
        _run(*self.inside(*_neighbour("replace", self.here, f"{self.name}t"), *lost))

    def mend(self) -> None:
        """Have everything arrive again."""
        with suppress(subprocess.CalledProcessError):
            _run(*_neighbour("del", self.there, f"{self.name}h"))
        with suppress(subprocess.CalledProcessError):
            _run(*self.inside(*_neighbour("del", self.here, f"{self.name}t")))


@contextmanager
def apart() -> Iterator[Apart]:
    """One for as long as the block lasts. The test fails, and says why, where none can be made."""
    missing = [program for program in ("ip", "nsenter", "setpriv") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        why = f"{', '.join(missing)} cannot be found" if missing else "you are not root"
        pytest.fail(f"only root, with iproute2 and util-linux, makes a network that can be cut: {why}")
    number = random.randrange(2**14)
    net = f"10.{192 + number // 2**8}.{number % 2**8}"
    network = Apart(name=f"chn{number}", here=f"{net}.1", there=f"{net}.2")
    _ip("netns", "add", network.name)
    try:
        near, far = f"{network.name}h", f"{network.name}t"
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", network.name)
        _ip("addr", "add", f"{network.here}/30", "dev", near)
        _ip("link", "set", near, "up")
        _run(*network.inside("ip", "addr", "add", f"{network.there}/30", "dev", far))
        for device in ("lo", far):
            _run(*network.inside("ip", "link", "set", device, "up"))
        yield network
    finally:
        _ip("netns", "del", network.name)


def _neighbour(what: str, address: str, device: str) -> list[str]:
    return ["ip", "neigh", what, address, "dev", device]


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
