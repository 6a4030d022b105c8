"""The SQL by which a server's superuser lets the platform in: whole, to be pasted as it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping

from psycopg import sql

from control_plane.keyring import Keyring
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.facts import LOGINS
from provisioning.roles import BACKUP, MIGRATOR, MOVER, OWNER

ATTRIBUTES = {
    OWNER: "NOLOGIN",
    MIGRATOR: "LOGIN BYPASSRLS",
    MOVER: "LOGIN REPLICATION BYPASSRLS",
    BACKUP: "LOGIN BYPASSRLS",
}
ITERATIONS = 4096
_OURS = re.compile("(copyhold|pg)_[a-z_]+")


def role_passwords(keyring: Keyring, address: Address) -> dict[str, str]:
    """What the platform's logins get on a server: 256 bits each, derived from the master key.

    Derived, so that who asked a superuser for the roles may ask again, and go on after a crash, with the same ones.
    """
    return {role: _text(keyring.key(_purpose(address, role))) for role in LOGINS}


def verifiers(keyring: Keyring, address: Address) -> dict[str, str]:
    """What a server checks those passwords with (SCRAM-SHA-256). Nobody gets in with it, nor learns the password."""
    return verifiers_of(keyring, address, role_passwords(keyring, address))


def verifiers_of(keyring: Keyring, address: Address, passwords: Mapping[str, str]) -> dict[str, str]:
    """The same of the passwords that the roll has, once it has any; of the platform's logins alone."""
    salts = {role: keyring.key(f"{_purpose(address, role)}/salt")[:16] for role in LOGINS if role in passwords}
    return {role: _verifier(passwords[role], salt) for role, salt in salts.items()}


def create_role(name: str, verifier: str | None) -> str:
    """Make one of the platform's roles."""
    password = f" PASSWORD {literal(verifier)}" if verifier else ""
    return f"CREATE ROLE {name} {ATTRIBUTES[name]}{password};"


def alter_role(name: str, attributes: Iterable[str]) -> str:
    """Give a role attributes that it lacks."""
    return f"ALTER ROLE {identifier(name)} {' '.join(attributes)};"


def give_password(name: str, verifier: str) -> str:
    """Have a role's password be the platform's own."""
    return f"ALTER ROLE {name} PASSWORD {literal(verifier)};"


def grant(roles: Iterable[str], to: str, *, admin_option: bool = False) -> str:
    """Make a role a member of others."""
    names = ", ".join(map(identifier, roles))
    return f"GRANT {names} TO {identifier(to)}{' WITH ADMIN OPTION' if admin_option else ''};"


def close_database(name: str) -> str:
    """Let into a database only who has been let in by name."""
    return f"REVOKE CONNECT, TEMPORARY ON DATABASE {identifier(name)} FROM PUBLIC;"


def let_into(name: str, role: str) -> str:
    """Let a role into a database by name."""
    return f"GRANT CONNECT ON DATABASE {identifier(name)} TO {identifier(role)};"


def set_for_all(name: str, value: str) -> str:
    """Change a setting of the whole server."""
    return f"ALTER SYSTEM SET {name} = {literal(value)};"


def pasted(statements: Iterable[str]) -> str:
    """All of them as one text, each once, in order."""
    return "\n".join(dict.fromkeys(statements))


def identifier(name: str) -> str:
    """A name, quoted where it has to be."""
    return name if _OURS.fullmatch(name) else sql.Identifier(name).as_string(None)


def literal(text: str) -> str:
    """A text, quoted."""
    return sql.Literal(text).as_string(None)


def _purpose(address: Address, role: str) -> str:
    return f"server/{address.host}:{address.port}/{role}"


def _text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def _verifier(password: str, salt: bytes) -> str:
    """RFC 5803."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts: Mapping[str, bytes] = {
        "salt": salt,
        "stored": stored,
        "server": hmac.digest(salted, b"Server Key", "sha256"),
    }
    text = {name: base64.b64encode(each).decode() for name, each in parts.items()}
    return f"SCRAM-SHA-256${ITERATIONS}:{text['salt']}${text['stored']}:{text['server']}"
