"""Wires the parts of a platform together for one command or process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from cli.actor import acting_person
from cli.options import data_folder
from cli.supervisor.privileges import drop_to_owner
from control_plane.domain.errors import SetupError, UnavailableError
from control_plane.doors import Doors
from control_plane.keyring import Keyring
from control_plane.registry.engine import ControlDatabaseError, control_engine
from control_plane.routing.seam import TenantApp, load_tenant_app
from control_plane.settings import Settings
from control_plane.stores.master_keys import open_keyring
from provisioning.commands import as_typed
from provisioning.layout import Layout
from provisioning.pooler.errors import PoolerDownError

if TYPE_CHECKING:
    from control_plane.registry.workflows import DurableWorkflows
    from migrations.fleet.chains import Chain
    from migrations.fleet.run import FleetMigration
    from provisioning.estate import Estate
    from provisioning.pooler.apply import Pooler


class PlatformDownError(UnavailableError):
    """A part of the platform does not answer: is it up?"""

    code = "platform_down"


class OtherVersionError(SetupError):
    """The control database is of another version than this Copyhold."""

    code = "other_version"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One platform as a command sees it. Its parts are imported when they are asked for: each command needs a few."""

    settings: Settings
    engine: Engine
    keyring: Keyring
    actor: str
    """Who acts, for the audit log."""

    @cached_property
    def workflows(self) -> DurableWorkflows:
        """The door to the workflow engine."""
        from control_plane.registry.workflows import DurableWorkflows

        return DurableWorkflows(self.engine)

    @cached_property
    def app(self) -> TenantApp:
        """The tenant app; loaded when first asked for, because it takes a while and most commands do without."""
        return load_tenant_app(self.settings.tenant_app)

    @property
    def chain(self) -> Chain:
        """The tenant app's chain."""
        from migrations.fleet.chains import tenant_chain

        return tenant_chain(self.app.migrations)

    @property
    def fleet(self) -> FleetMigration:
        """The fleet and what can be done to it."""
        from migrations.fleet.run import FleetMigration

        return FleetMigration(self.engine, self.chain, self.doors)

    @property
    def pooler(self) -> Pooler:
        """The pooler."""
        from control_plane.stores.secrets import Secrets
        from provisioning.pooler.apply import Pooler

        return Pooler(self.settings, self.engine, Secrets(self.settings, self.keyring))

    @cached_property
    def doors(self) -> Doors:
        """The way to every server."""
        return Doors.of(self.settings, self.keyring)

    @cached_property
    def estate(self) -> Estate:
        """What provisioning works with."""
        from provisioning.estate import Estate

        return Estate(settings=self.settings, engine=self.engine, keyring=self.keyring, app=self.app)


def settings_for(data: Path | None, api: int | None = None) -> Settings:
    """The settings of the platform in `data`, else those of COPYHOLD_* variables, else of the usual folder.

    As root, this process becomes the folder's owner for good.
    """
    if _told_by_variables(data):
        return Settings.from_environment()
    folder = data_folder(data)
    drop_to_owner(folder)
    return Layout.open(folder).settings(api)


@contextmanager
def open_platform(data: Path | None, api: int | None = None) -> Iterator[Platform]:
    """The platform, its connections closed at the end of the block; `api` is the number of an API process.

    PlatformDownError, saying what to do, when control database or pooler do not answer inside the block;
    OtherVersionError when the control database lacks tables or columns that this version knows.
    """
    actor = acting_person()  # before this process becomes the platform's own user
    settings = settings_for(data, api)
    engine = control_engine(settings.control_dsn, timeout_s=settings.limits.control_timeout_s)
    platform = Platform(settings=settings, engine=engine, keyring=open_keyring(settings), actor=actor)
    try:
        yield platform
    except ControlDatabaseError as error:
        raise PlatformDownError(f"the control database does not answer: {_what_to_do(data)}") from error
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedColumn | UndefinedTable):
            raise OtherVersionError(
                "the control database is of another version than this Copyhold: use that version, or have this one "
                "bring it along by a new start (copyhold down, then up)"
            ) from error
        raise
    except PoolerDownError as error:
        raise PlatformDownError(f"the pooler does not answer: {_what_to_do(data)}") from error
    finally:
        if "workflows" in vars(platform):
            platform.workflows.close()
        engine.dispose()


def _told_by_variables(data: Path | None) -> bool:
    return data is None and "COPYHOLD_CONTROL_DSN" in os.environ


def _what_to_do(data: Path | None) -> str:
    if _told_by_variables(data):
        return "is it up, and are the COPYHOLD_* variables right?"
    return f"is the platform up? {as_typed('copyhold up', data_folder(data))}"
