"""What is seen to before anything starts: file descriptors and the HTTP port."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cli.ports import bound
from control_plane.domain.errors import SetupError

WANTED_FILES = 65536
NEEDED_FILES = 4096
"""PgBouncer stops accepting, without a word, when it comes near its limit of descriptors."""


def raise_file_limit() -> None:
    """Allow as many open files as we may, before privileges go. SetupError when that is too few to serve."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.geteuid() == 0 and hard != resource.RLIM_INFINITY and hard < WANTED_FILES:
        with suppress(OSError, ValueError):  # a container's root may not
            resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED_FILES, WANTED_FILES))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, max(WANTED_FILES, NEEDED_FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < NEEDED_FILES:
        raise SetupError(
            f"only {limit} open files are allowed here, {NEEDED_FILES} are needed: raise the limit "
            f"(`ulimit -n {WANTED_FILES}`, or LimitNOFILE= of a service)"
        )


@contextmanager
def claimed(host: str, port: int) -> Iterator[None]:
    """Keep the port for this platform's API processes; SetupError when another's, or another program, has it.

    Processes of one user may listen on one port together, and one of another platform's would be among them: of all
    that ask for the port in this way, only one at a time gets past.
    """
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
            claim.bind(f"\0copyhold {address} {port}")  # given up with this process, however that ends
        except OSError as error:
            raise SetupError(_why_not(host, port, error), port=port) from error
        _refuse_a_taken_port(host, port)
        yield


def _refuse_a_taken_port(host: str, port: int) -> None:
    try:
        with bound(host, port) as probe:
            probe.listen(1)
    except OSError as error:
        raise SetupError(_why_not(host, port, error), port=port) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program: stop it, or choose another port with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: choose one from 1024 on with --port"
    return f"cannot listen on {host}, port {port}: {error.strerror}; choose another address with --host"
