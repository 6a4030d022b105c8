"""Certificates for servers under test, made when they are needed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HERE = ("localhost", "127.0.0.1")
LIFE = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate and its key."""

    pem: str
    key: str


class Authority:
    """Signs certificates of servers. Another one of the same name signs with another key."""

    def __init__(self, name: str = "Authority of the tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = _begun(self._name, self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.pem = made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def certificate(self, *hosts: str, ends: datetime | None = None) -> Certificate:
        """Of a server with those names or addresses (this machine's, when none is told)."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _begun(_named("server"), self._name, key.public_key(), ends)
        made = made.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts or HERE]), critical=False)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(ours, critical=False)
        return Certificate(
            pem=made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ends: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before((ends or now) - LIFE).not_valid_after(ends or now + LIFE)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
