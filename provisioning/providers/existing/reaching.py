"""The way to a server that others run, step by step, so that what is in the way can be named: name, port, TLS."""

from __future__ import annotations

import queue
import socket
import ssl
import struct
import threading

from control_plane.doors import believing
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.facts import Trouble

STEP_S = 5.0
"""So long at most does each step wait for a server that is silent."""
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def obstacle(address: Address, ca: str) -> Trouble | None:
    """What keeps everybody out, whoever they are; None when TLS stands and the certificate is the server's own."""
    if not _resolves(address.host):
        return Trouble(
            what="name",
            why=f"the name {address.host} leads nowhere from here",
            remedy="is it spelled well, and does this machine's resolver know it (private zone, VPN)?",
        )
    try:
        connection = socket.create_connection((address.host, address.port), timeout=STEP_S)
    except TimeoutError:
        return _silent(address)
    except OSError as error:
        return Trouble(
            what="port",
            why=f"nothing takes connections at {address.host} port {address.port}: {error.strerror or error}",
            remedy="start the server, and have it listen there: listen_addresses and port in postgresql.conf",
        )
    with connection:
        connection.settimeout(STEP_S)
        return _tls(connection, address, ca)


def _resolves(host: str) -> bool:
    """Asked in a thread of its own: a resolver takes as long as it likes."""
    found: queue.Queue[bool] = queue.Queue()

    def ask() -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            found.put(False)
        else:
            found.put(True)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return found.get(timeout=STEP_S)
    except queue.Empty:
        return False


def _tls(connection: socket.socket, address: Address, ca: str) -> Trouble | None:
    try:
        connection.sendall(_SSL_REQUEST)
        answer = connection.recv(1)
    except TimeoutError:
        return _silent(address)
    except OSError:
        answer = b""
    if answer != b"S":
        return _no_tls(address, answer)
    try:
        context = believing(ca)
    except ssl.SSLError:
        return Trouble(
            what="certificate", why="the CA given is no certificate", remedy="give a file of certificates, PEM"
        )
    try:
        context.wrap_socket(connection, server_hostname=address.host).close()
    except ssl.SSLCertVerificationError as error:
        return _not_verified(error, given=bool(ca))
    except TimeoutError:
        return _silent(address)
    except OSError as error:
        return Trouble(
            what="tls",
            why=f"TLS does not come about: {getattr(error, 'reason', None) or error.strerror or 'the server hangs up'}",
            remedy="TLS 1.2 or newer: ssl_min_protocol_version, ssl_cert_file and ssl_key_file of the server",
        )
    return None


def _no_tls(address: Address, answer: bytes) -> Trouble:
    if answer == b"N":
        return Trouble(
            what="tls",
            why="the server offers no TLS: passwords and tenants' rows would travel open",
            remedy="ssl = on, ssl_cert_file and ssl_key_file in its postgresql.conf, then SELECT pg_reload_conf()",
        )
    return Trouble(
        what="answer",
        why=f"what listens at {address.host} port {address.port} does not talk like PostgreSQL",
        remedy="give the port of the server itself",
    )


def _not_verified(error: ssl.SSLCertVerificationError, *, given: bool) -> Trouble:
    if "doesn't match" in str(error) or "mismatch" in error.verify_message.lower():
        remedy = "use the name that stands in the certificate, or have one made for this name"
    elif "expired" in error.verify_message:
        remedy = "have the certificate renewed"
    elif given:
        remedy = "give the CA that signs this server's certificate (--ca FILE)"
    else:
        remedy = "give the certificates of whoever signs the server's own: --ca FILE"
    why = f"the server's certificate is not believed: {error.verify_message}"
    return Trouble(what="certificate", why=why, remedy=remedy)


def _silent(address: Address) -> Trouble:
    return Trouble(
        what="port",
        why=f"{address.host} port {address.port} is silent: no answer within {STEP_S:.0f} s",
        remedy="let this machine through: firewall, security group, routes",
    )
