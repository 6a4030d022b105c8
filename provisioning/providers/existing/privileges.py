"""What roles there have to be and what they may do, against what is there: each difference with its SQL. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provisioning.providers.existing import statements
from provisioning.providers.existing.facts import LOGINS, PLATFORM_ROLES, Facts, RoleFacts
from provisioning.roles import BACKUP, MIGRATOR, MOVER, OWNER

MEMBERSHIPS = {MIGRATOR: OWNER, MOVER: OWNER, BACKUP: "pg_read_all_data"}
OF_ADMIN = (OWNER, MIGRATOR, "pg_signal_backend")
"""What its administrator has to be a member of: it makes what the owner owns, and ends sessions."""
REPLICA_ROLE = "GRANT SET ON PARAMETER session_replication_role TO copyhold_mover;"


@dataclass(frozen=True, kw_only=True)
class Privilege:
    """One that is missing."""

    what: str
    why: str
    sql: tuple[str, ...]
    by_itself: bool
    """Whether the administrator can put it right: then it is done when the server is added."""
    needed: bool = True
    """Whether tenants can live there without."""


def privileges_of(facts: Facts, verifiers: Mapping[str, str]) -> Iterator[Privilege]:
    """Those that are missing, in the order in which their SQL has to run."""
    yield from _administrator(facts)
    for name in PLATFORM_ROLES:
        if name not in facts.roles:
            yield _missing(facts, name, verifiers)
        else:
            yield from _attributes(facts, name)
            yield from _password(facts, name, verifiers)
    yield from _memberships(facts)
    yield from _admins_memberships(facts)
    if not facts.admin.superuser and (not facts.replica_role or MOVER not in facts.roles):
        why = "copyhold_mover may not set session_replication_role: a tenant's rows in a pool cannot be erased"
        yield Privilege(what="replica_role", why=why, sql=(REPLICA_ROLE,), by_itself=False, needed=False)


def _administrator(facts: Facts) -> Iterator[Privilege]:
    admin, name = facts.admin, facts.address.admin
    if admin.superuser:
        return
    lacking = [word for word, has in (("CREATEDB", admin.createdb), ("CREATEROLE", admin.createrole)) if not has]
    if lacking:
        yield Privilege(
            what="administrator",
            why=f"{name} may not make {'databases' if 'CREATEDB' in lacking else 'roles'}",
            sql=(statements.alter_role(name, lacking),),
            by_itself=False,
        )


def _missing(facts: Facts, name: str, verifiers: Mapping[str, str]) -> Privilege:
    itself = facts.may_create(name)
    who = "is made when the server is added" if itself else f"{facts.address.admin} may not make it"
    sql = (statements.create_role(name, verifiers.get(name)),)
    return Privilege(what="role", why=f"there is no {name}: {who}", sql=sql, by_itself=itself)


def _attributes(facts: Facts, name: str) -> Iterator[Privilege]:
    role = facts.roles[name]
    wanted = {
        "LOGIN": name not in LOGINS or role.login,
        "BYPASSRLS": name not in LOGINS or role.bypassrls,
        "REPLICATION": name != MOVER or role.may_replicate,
        "NOSUPERUSER": not role.superuser,
        "NOBYPASSRLS": name != OWNER or not role.bypassrls,
        "CONNECTION LIMIT -1": role.connection_limit == -1,
    }
    if lacking := [word for word, is_so in wanted.items() if not is_so]:
        sql, itself = (statements.alter_role(name, lacking),), facts.admin.superuser
        yield Privilege(what="role", why=f"{name} is not {', '.join(lacking)}", sql=sql, by_itself=itself)


def _password(facts: Facts, name: str, verifiers: Mapping[str, str]) -> Iterator[Privilege]:
    if "password authentication failed" not in facts.refused.get(name, ""):
        return
    itself = facts.may_set_password(name)
    who = "it gets one when the server is added" if itself else f"{facts.address.admin} may not give it one"
    sql = (statements.give_password(name, verifiers[name]),)
    yield Privilege(what="password", why=f"{name} has not the platform's password: {who}", sql=sql, by_itself=itself)


def _memberships(facts: Facts) -> Iterator[Privilege]:
    for name, group in MEMBERSHIPS.items():
        if group not in facts.roles.get(name, RoleFacts()).member_of:
            sql = (statements.grant([group], name),)
            yield Privilege(
                what="membership", why=f"{name} is no member of {group}", sql=sql, by_itself=_may_grant(facts, group)
            )


def _admins_memberships(facts: Facts) -> Iterator[Privilege]:
    admin, name = facts.admin, facts.address.admin
    if admin.superuser:
        return
    for group in OF_ADMIN:
        if group not in admin.member_of:
            sql = (statements.grant([group], name, admin_option=group in PLATFORM_ROLES),)
            yield Privilege(
                what="membership", why=f"{name} is no member of {group}", sql=sql, by_itself=_may_grant(facts, group)
            )


def _may_grant(facts: Facts, group: str) -> bool:
    """Whether the administrator may make others, and itself, members of it."""
    admin = facts.admin
    if admin.superuser:
        return True
    if group in PLATFORM_ROLES and group not in facts.roles:
        return facts.may_create(group)
    return admin.createrole and (facts.major < 16 or group in admin.admin_of)
