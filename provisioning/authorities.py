"""Who signs the certificates of servers reached by TCP: one bundle for all of them, as the pooler wants it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from control_plane.domain.errors import SetupError
from control_plane.domain.server import Server

OF_THIS_MACHINE = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
"""Where distributions keep the certificates of those whom a machine believes."""


def bundle(servers: Iterable[Server]) -> str:
    """The certificates of whoever signs those servers', PEM; this machine's are among them if one server asks for it.

    SetupError when it does and this machine has none.
    """
    asked = {server.ca.strip() for server in servers if server.by_tcp}
    texts = sorted(asked - {""}) + ([_of_this_machine()] if "" in asked else [])
    return "".join(f"{text}\n" for text in texts)


def _of_this_machine() -> str:
    for path in map(Path, OF_THIS_MACHINE):
        if path.exists():
            return path.read_text().strip()
    raise SetupError(f"this machine believes nobody: there is none of {', '.join(OF_THIS_MACHINE)}")
