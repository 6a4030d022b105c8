"""All that a process needs to be told, as one typed object: made by the entry point, passed down, read nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from control_plane.domain.errors import SetupError
from control_plane.domain.moving import MOVES_AT_ONCE_MAX, UNDO_WINDOW_MAX
from control_plane.domain.plans import DEFAULT, Houses
from control_plane.domain.tenant import Model


class Limits(BaseModel):
    """Every bound of the data path, in one place."""

    model_config = ConfigDict(frozen=True)

    client_connections: Annotated[int, Field(ge=1, le=5000)] = 100
    """Connections of one API process to the pooler, idle ones included; the pooler takes 2,000 of all together."""
    connection_waiters: Annotated[int, Field(ge=1)] = 1000
    """Requests that may wait for a connection; the next one is answered 503."""
    connection_wait_s: Annotated[float, Field(gt=0)] = 5.0
    connection_age_s: Annotated[float, Field(gt=0)] = 600.0
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    statement_timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Longest time that one statement of a tenant app may run."""
    transaction_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest time that one request may hold its transaction."""
    token_life_s: Annotated[int, Field(ge=1, le=60)] = 20
    """How long a context token may be redeemed after it was minted."""
    freeze_wait_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a request waits for a tenant that is being moved."""
    frozen_copy_s: Annotated[float, Field(gt=0)] = 120.0
    """How long at most a tenant is kept waiting when it is copied under freeze; see `tenant move --allow-freeze`."""
    freeze_waiters: Annotated[int, Field(ge=1)] = 500
    undo_window_s: Annotated[int, Field(ge=0, le=int(UNDO_WINDOW_MAX.total_seconds()))] = 3600
    """How long the home that a tenant moved away from is kept, unless the move says; with 0 it goes at once."""
    moves_at_once: Annotated[int, Field(ge=1, le=MOVES_AT_ONCE_MAX)] = 2
    """Moves that a server has at once while it is drained, or servers are evened out, unless the command says."""
    background_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """For which part of the time a tenant's rows are copied, compared or deleted while others are served beside it.

    At most: less of it while the machine is full. With less others notice less, and moves take longer; with 1 it never
    rests.
    """
    body_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    feed_poll_s: Annotated[float, Field(gt=0)] = 0.8
    """How long at most until a change is found that nobody was told of: a suspension counts within a second."""
    session_life_s: Annotated[int, Field(ge=60)] = 14 * 24 * 3600
    ticket_life_s: Annotated[int, Field(ge=1, le=300)] = 30
    control_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Longest time that a statement or a connection attempt to the control database may take."""
    pool_tenants_max: Annotated[int, Field(ge=1)] = 5000
    """Tenants of one pool database; the next one has another made."""
    bridge_schemas_max: Annotated[int, Field(ge=1)] = 1000
    """Schemas of one bridge database; the next one has another made."""
    signup_wait_s: Annotated[float, Field(ge=0)] = 5.0
    """How long POST /signup waits for the tenant before it answers 202."""
    signups_per_minute: Annotated[int, Field(ge=1)] = 60
    logins_per_minute: Annotated[int, Field(ge=1)] = 20

    @property
    def undo_window(self) -> timedelta:
        """The same as a time."""
        return timedelta(seconds=self.undo_window_s)

    @property
    def full_at(self) -> Mapping[Model, int]:
        """With how many tenants a shared database is full."""
        return {Model.POOL: self.pool_tenants_max, Model.BRIDGE: self.bridge_schemas_max}


class Rds(BaseModel):
    """What has to be known of RDS besides each server's shape, and the credentials that boto3 finds by itself."""

    model_config = ConfigDict(frozen=True)

    platform: str | None = None
    """Tells this platform's instances from another's in the same account; kept on the roll with each server."""
    ca_file: Path | None = None
    """The certificates of AWS's authorities for RDS, PEM; for servers that are added without any."""
    endpoints: Mapping[str, str] = {}
    """Instance -> host:port, where it is reached by another address than AWS names."""
    poll_s: Annotated[float, Field(gt=0)] = 15.0
    """Between two looks at an instance that AWS is at work on."""
    ready_within_s: Annotated[float, Field(gt=0)] = 3600.0
    """A large instance with a standby takes AWS half an hour."""
    tries: Annotated[int, Field(ge=1, le=20)] = 8
    """Of one call that AWS throttles, or does not answer."""


class Settings(BaseSettings):
    """The settings of an API or worker process.

    Each is COPYHOLD_<NAME> in the environment, a limit COPYHOLD_LIMITS__<NAME>, one of RDS COPYHOLD_RDS__<NAME>.
    """

    model_config = SettingsConfigDict(env_prefix="COPYHOLD_", env_nested_delimiter="__", frozen=True, extra="ignore")

    control_dsn: str
    """libpq connection string of the control database; direct, never through a pooler."""
    pooler_host: str
    pooler_port: int = 6432
    pooler_dir: Path
    """Folder of the pooler's configuration."""
    redis_url: str | None = None
    master_key_file: Path | None = None
    """The master key as it is; one of the three is needed."""
    master_key: SecretStr | None = None
    """The master key in base64; while it is changed, the new one, a comma and the old one."""
    master_key_kms: Path | None = None
    """A file of `copyhold master-key new --kms`, which AWS KMS opens."""
    secret_store: Literal["sealed", "aws"] = "sealed"  # noqa: S105 - names a place
    """Where new passwords to homes are kept: sealed on the roll, or in AWS Secrets Manager."""
    snapshot_file: Path
    export_dir: Path | None = None
    """Where tenants' exports are written; without it each has to be told where."""
    export_days: Annotated[int | None, Field(ge=1)] = None
    """After so many days a worker deletes what was written to `export_dir`; without a number, nobody does."""
    ready_file: Path | None = None
    """Written by a worker once it takes work, and by an API process once it can serve."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=1, lt=32768)] = 8080
    base_domain: str = "localhost"
    tenant_app: str = "tenant_app:inbox"
    """Where the tenant app is found: module:attribute."""
    worker_id: str = "worker-1"
    """Name of this worker, unique and stable: a restarted worker takes up its own work."""
    plan_models: Houses = DEFAULT
    """How tenants on each plan are housed at least, as JSON: whoever changes to a plan that promises more is moved."""
    limits: Limits = Limits()
    rds: Rds = Rds()

    @model_validator(mode="after")
    def _one_master_key(self) -> Settings:
        given = [each for each in (self.master_key_file, self.master_key, self.master_key_kms) if each is not None]
        if len(given) != 1:
            raise ValueError("give one of master_key_file, master_key and master_key_kms")
        return self

    @classmethod
    def from_environment(cls, **known: Any) -> Settings:
        """Settings out of what is known already, then COPYHOLD_* variables; SetupError names the first bad one."""
        try:
            return cls(**known)
        except ValidationError as error:
            first = error.errors()[0]
            name = "COPYHOLD_" + ("__".join(str(part) for part in first["loc"]).upper() or "MASTER_KEY")
            raise SetupError(f"{name}: {first['msg'].lower()}", setting=name) from error
