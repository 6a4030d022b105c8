"""A platform that makes servers on RDS: on a fake of it, with a PostgreSQL of this machine in the instance's place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

from control_plane.domain.rds import MASTER
from control_plane.registry import progress
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import ADD_SERVER
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.statements import role_passwords
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, running_platform
from tests.providers.rds.clouds import CREDENTIALS, REGION, Cloud, cloud_of, running_moto
from tests.providers.rds.fake import FakeRds, running_fake
from tests.provisioning.lives import newest
from tests.provisioning.workers import control
from tests.servers import remote
from tests.servers.remote import PREPARED, RemoteServer, remote_server

NAME = "acme-rds"
INSTANCE = f"copyhold-main-{NAME}"
SECRET = f"copyhold/main/{NAME}/master"
SHAPE: dict[str, Any] = {
    "region": REGION,
    "instance_class": "db.t4g.medium",
    "engine_version": "15.8",
    "storage_gib": 100,
    "subnet_group": "tenants",
    "security_groups": ["sg-0123456789abcdef0"],
}
OURS = "SELECT datname::text FROM pg_database WHERE datname ~ '^(silo|template|building)_'"


@dataclass(kw_only=True)
class RdsHouse:
    """The platform, AWS as it has it, and the server that every instance of it is."""

    platform: PlatformUnderTest
    fake: FakeRds
    cloud: Cloud
    server: RemoteServer
    prepared: bool = True
    """Whether a superuser has made there what a master login without BYPASSRLS cannot make."""

    @property
    def command(self) -> Shell:
        """Runs `copyhold`."""
        return Shell(self.platform.data)

    def begin_anew(self) -> None:
        """An empty AWS, and an empty server."""
        self.cloud.reset()
        self.fake.when_made = self._made
        self.prepared = True
        self._empty()

    def workflow(self, subject: Any, kind: str = ADD_SERVER) -> str:
        """The one of that kind that was started last."""
        return newest(self.platform, kind, subject)

    def steps(self, workflow_id: str) -> list[str]:
        """What is told of it so far."""
        with transaction(self.platform.engine) as session:
            return [row.step for row in progress.of_workflow(session, workflow_id)]

    def in_the_engine(self) -> list[str]:
        """The states of the engine's runs for that server that have not ended."""
        query = (
            "SELECT status FROM dbos.workflow_status WHERE queue_partition_key = %s"
            " AND status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
        )
        with control(self.platform) as connection:
            return [status for (status,) in connection.execute(query, [NAME]).fetchall()]

    def secret_is_there(self) -> bool:
        """Whether the master login is kept, and not about to be deleted."""
        found = self.cloud.secrets("list_secrets")["SecretList"]
        return any(each["Name"] == SECRET for each in found)

    def passwords_kept(self) -> list[str]:
        """The secrets of the apps' logins in AWS that are not about to be deleted, by name."""
        found = self.cloud.secrets("list_secrets")["SecretList"]
        return [each["Name"] for each in found if each["Name"] != SECRET]

    def prepare(self) -> None:
        """Do what a superuser is asked to do where the master login may not."""
        address = Address(host=self.server.host, port=self.server.port, admin=MASTER)
        passwords = role_passwords(self.platform.keyring, address)
        with self.server.superuser() as superuser:
            superuser.execute(sql.SQL(PREPARED).format(admin=sql.Identifier(MASTER)))
        for role, password in passwords.items():
            self.server.set_password(role, password)

    def _made(self, asked: dict[str, Any]) -> None:
        """As RDS does: the master login makes databases and roles, and is no superuser."""
        self._empty()
        with self.server.superuser() as superuser:
            superuser.execute(sql.SQL(remote.ADMIN_MADE).format(admin=sql.Identifier(asked["MasterUsername"])))
        self.server.set_password(asked["MasterUsername"], asked["MasterUserPassword"])
        if self.prepared:
            self.prepare()

    def _empty(self) -> None:
        with self.server.superuser() as superuser:
            for (name,) in superuser.execute(OURS).fetchall():
                superuser.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
                superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            there = superuser.execute(
                "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^(copyhold|silo)_' ORDER BY rolname = %s", [MASTER]
            ).fetchall()
            for (role,) in there:
                superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            for (role,) in there:
                superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@contextmanager
def rds_house() -> Iterator[RdsHouse]:
    """All of it, for as long as the block lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, running_moto() as moto, running_fake() as fake:
        patch.setitem(remote.OPTIONS, "fsync", "on")
        with remote_server(prepared=False) as server:
            variables = CREDENTIALS | {
                "AWS_ENDPOINT_URL": moto,
                "AWS_ENDPOINT_URL_RDS": fake.url,
                "AWS_DEFAULT_REGION": REGION,
                "COPYHOLD_SECRET_STORE": "aws",
                "COPYHOLD_RDS__PLATFORM": "main",
                "COPYHOLD_RDS__POLL_S": "0.1",
                "COPYHOLD_RDS__TRIES": "2",
                "COPYHOLD_RDS__CA_FILE": str(server.ca_file),
                "COPYHOLD_RDS__ENDPOINTS": json.dumps({INSTANCE: f"{server.host}:{server.port}"}),
            }
            for name, value in variables.items():
                patch.setenv(name, value)
            with running_platform() as platform:
                yield RdsHouse(platform=platform, fake=fake, cloud=cloud_of(moto, fake), server=server)
