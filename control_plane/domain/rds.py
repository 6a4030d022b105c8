"""RDS instances as somebody wishes for them: what one should be, checked before AWS is asked, and its name there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from control_plane.domain.errors import InvalidError
from control_plane.domain.server import OLDEST_MAJOR

PROVISIONED = ("io1", "io2")
STORAGE_TYPES = ("gp2", "gp3", *PROVISIONED)
LEAST_GIB = {"gp2": 20, "gp3": 20, "io1": 100, "io2": 100}
MOST_GIB = 65_536
MOST_RETENTION_DAYS = 35
PATTERNS = {
    "instance_class": (re.compile(r"db\.[a-z0-9-]+\.[a-z0-9-]+"), "like db.t4g.medium"),
    "engine_version": (re.compile(r"\d+(\.\d+)?"), "like 16 or 16.4"),
    "region": (re.compile(r"[a-z]{2}(-[a-z]+)+-\d+"), "like eu-central-1"),
    "subnet_group": (re.compile(r"[A-Za-z0-9 ._-]{1,255}"), "the name of a DB subnet group"),
    "kms_key": (re.compile(r"\S+"), "the id, ARN or alias of a KMS key"),
}
IDENTIFIER = re.compile(r"[a-z](-?[a-z0-9])*")
LONGEST_NAME = 63
PORT = 5432
MASTER = "copyhold_master"
"""The login that may do everything on an instance."""
SECURITY_GROUP = re.compile(r"sg-[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class RdsShape:
    """One PostgreSQL instance. Always encrypted, never reachable from the internet; InvalidError names a bad field."""

    region: str
    instance_class: str
    engine_version: str
    """A major version alone takes the newest minor one that AWS offers."""
    storage_gib: int
    """The least: what AWS or somebody made larger stays."""
    subnet_group: str
    security_groups: tuple[str, ...]
    storage_type: str = "gp3"
    iops: int | None = None
    multi_az: bool = False
    backup_retention_days: int = 7
    deletion_protection: bool = True
    kms_key: str | None = None
    """None: the key that AWS keeps for RDS in this account."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), str(field.type))
        for name, (pattern, example) in PATTERNS.items():
            value = getattr(self, name)
            if value is not None and not pattern.fullmatch(value):
                raise InvalidError(f"{name}: {value!r} is not {example}", field=name)
        self._check_version()
        self._check_groups()
        self._check_storage()
        if not 1 <= self.backup_retention_days <= MOST_RETENTION_DAYS:
            raise _bad("backup_retention_days", f"1 to {MOST_RETENTION_DAYS}; without backups no tenant lives there")

    @property
    def parameter_family(self) -> str:
        """The family that its parameter group belongs to."""
        return f"postgres{self.version[0]}"

    @property
    def version(self) -> tuple[int, ...]:
        """The engine's version as numbers; of one number when any minor version will do."""
        return version_of(self.engine_version)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The shape that a server's settings (JSON) describe; InvalidError names what is missing or unknown."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(settings.keys() - fields.keys()):
            raise InvalidError(f"an RDS server has no setting {', '.join(unknown)}; it has {', '.join(fields)}")
        needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        if missing := sorted(needed - settings.keys()):
            raise InvalidError(f"an RDS server needs {', '.join(missing)}")
        groups = settings["security_groups"]
        return cls(**{**settings, "security_groups": tuple(groups) if isinstance(groups, list) else groups})

    def _check_version(self) -> None:
        if self.version[0] < OLDEST_MAJOR:
            raise _bad("engine_version", f"PostgreSQL {OLDEST_MAJOR} or newer")

    def _check_groups(self) -> None:
        if not self.security_groups:
            raise _bad("security_groups", "at least one; the VPC's default group lets too much in")
        for group in self.security_groups:
            if not isinstance(group, str) or not SECURITY_GROUP.fullmatch(group):
                raise InvalidError(
                    f"security_groups: {group!r} is not like sg-0123456789abcdef0", field="security_groups"
                )

    def _check_storage(self) -> None:
        if self.storage_type not in STORAGE_TYPES:
            raise _bad("storage_type", " or ".join(STORAGE_TYPES))
        least = LEAST_GIB[self.storage_type]
        if not least <= self.storage_gib <= MOST_GIB:
            raise _bad("storage_gib", f"{least} to {MOST_GIB} for {self.storage_type}")
        if self.storage_type in PROVISIONED and self.iops is None:
            raise _bad("iops", f"given for {self.storage_type}")
        if self.storage_type == "gp2" and self.iops is not None:
            raise _bad("iops", "left out for gp2, whose size decides it")
        if self.iops is not None and self.iops < 1:
            raise _bad("iops", "a positive number")


def instance_name(platform: str, server: str) -> str:
    """What a server's instance is called; InvalidError when RDS would not take that."""
    name = f"copyhold-{platform}-{server}"
    if len(name) > LONGEST_NAME or not IDENTIFIER.fullmatch(name):
        raise InvalidError(
            f"{name!r} cannot name an RDS instance: small letters, digits and single hyphens, at most {LONGEST_NAME}"
        )
    return name


def version_of(text: str) -> tuple[int, ...]:
    """The numbers in a version: 16.4-R2 is (16, 4)."""
    return tuple(int(part) for part in text.partition("-")[0].split(".") if part.isdigit())


def _check_type(name: str, value: object, wanted: str) -> None:
    kinds: dict[str, tuple[tuple[type, ...], str]] = {
        "str": ((str,), "a text"),
        "int": ((int,), "a whole number"),
        "bool": ((bool,), "true or false"),
        "tuple[str, ...]": ((tuple,), "a list of texts"),
        "str | None": ((str, type(None)), "a text"),
        "int | None": ((int, type(None)), "a whole number"),
    }
    types, in_words = kinds[wanted]
    if not isinstance(value, types) or (isinstance(value, bool) and wanted != "bool"):
        raise InvalidError(f"{name}: {value!r} is not {in_words}", field=name)


def _bad(name: str, wanted: str) -> InvalidError:
    return InvalidError(f"{name} must be {wanted}", field=name)
