"""TCP ports, as a supervisor tries them and an API process takes them."""

from __future__ import annotations

import socket


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound, and does not listen yet; OSError when it cannot be.

    A shared port may be bound by other processes of this user, before and after, that share it as well.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made
