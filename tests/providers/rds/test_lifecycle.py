"""The life of an instance, on moto and on our fake alike."""

from __future__ import annotations

import json
import logging
from typing import Any

import psycopg
import pytest

from control_plane.domain.errors import InvalidError
from provisioning.providers.base import ProviderError, ServerAddress
from provisioning.providers.rds.aws import AwsError
from provisioning.providers.rds.parameters import AT_ONCE, AT_RESTART
from provisioning.providers.rds.states import State
from provisioning.providers.throwaway import throwaway_server
from tests.providers.rds.clouds import INSTANCE, NAME, SHAPE, Cloud, password_kept

SECRET = "copyhold/main/acme/master"
TAGS = {"copyhold:platform": "main", "copyhold:server": "acme"}


def pairs(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_an_instance_is_made_as_its_shape_says_and_safe(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    found = cloud.instance()
    assert found["StorageEncrypted"] is True
    assert found["DeletionProtection"] is True
    assert found["PubliclyAccessible"] is False
    assert found["CopyTagsToSnapshot"] is True
    assert found["MultiAZ"] is False
    assert found["BackupRetentionPeriod"] == 7
    assert (found["Engine"], found["EngineVersion"]) == ("postgres", "16.4")
    assert (found["DBInstanceClass"], found["AllocatedStorage"]) == ("db.t4g.medium", 100)
    assert found["StorageType"] == "gp3"
    assert found["DBSubnetGroup"]["DBSubnetGroupName"] == "tenants"
    assert [each["VpcSecurityGroupId"] for each in found["VpcSecurityGroups"]] == list(SHAPE.security_groups)
    assert [each["DBParameterGroupName"] for each in found["DBParameterGroups"]] == [INSTANCE]
    assert pairs(found["TagList"]) == TAGS


def test_parameters_turn_on_replication_and_keep_statements_out_of_logs(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    set_now = cloud.parameters()
    assert set_now == AT_RESTART | AT_ONCE
    assert set_now["rds.logical_replication"] == "1"
    assert set_now["rds.force_ssl"] == "1"
    assert set_now["log_min_error_statement"] == "panic"
    assert set_now["log_error_verbosity"] == "terse"
    assert set_now["log_statement"] == "none"


def test_ensure_puts_a_changed_parameter_right_and_leaves_others_alone(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    changes = {"log_statement": "all", "work_mem": "8192"}
    cloud.rds(
        "modify_db_parameter_group",
        DBParameterGroupName=INSTANCE,
        Parameters=[
            {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate"}
            for name, value in changes.items()
        ],
    )
    cloud.provider().ensure(NAME)
    assert cloud.parameters() == AT_RESTART | AT_ONCE | {"work_mem": "8192"}


def test_the_master_password_is_in_the_secret_and_nowhere_else(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        provider = cloud.provider()
        provider.ensure(NAME)
        login = provider.master(NAME)
        status = provider.status(NAME)
    assert login.password == password_kept(cloud)
    assert len(login.password) >= 40
    seen = "".join((repr(login), repr(provider), repr(status), caplog.text, *capfd.readouterr()))
    assert login.password not in seen
    assert pairs(cloud.secrets("describe_secret", SecretId=SECRET)["Tags"]).items() >= TAGS.items()


def test_a_repeated_ensure_adopts_its_own(cloud: Cloud) -> None:
    address, first, password = cloud.provider().ensure(NAME), cloud.instance(), password_kept(cloud)
    assert cloud.provider().ensure(NAME) == address
    assert cloud.instance()["DbiResourceId"] == first["DbiResourceId"]
    assert password_kept(cloud) == password


def test_somebody_elses_instance_is_refused_by_every_method(cloud: Cloud) -> None:
    contested = "copyhold-main-acme-x"
    cloud.provider(platform="main", shapes={"acme-x": SHAPE}).ensure("acme-x")
    before = cloud.instance(contested)
    thief = cloud.provider(platform="main-acme", shapes={"x": SHAPE})
    for method in (thief.ensure, thief.start, thief.stop, thief.status, thief.modify, thief.endpoint):
        with pytest.raises(ProviderError, match="is not this platform's server x"):
            method("x")
    with pytest.raises(ProviderError, match="is not this platform's server x"):
        thief.destroy("x", confirm=contested, final_snapshot=False)
    assert cloud.instance(contested) == before


def test_an_instance_that_differs_in_what_cannot_be_changed_is_refused(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    for fields, said in (
        ({"engine_version": "17.1"}, "runs PostgreSQL 16.4, not 17.1"),
        ({"subnet_group": "others"}, "is in the subnet group tenants, not others"),
    ):
        with pytest.raises(ProviderError, match=said):
            cloud.changed(**fields).ensure(NAME)
        with pytest.raises(ProviderError, match=said):
            cloud.changed(**fields).modify(NAME)


def test_modify_asks_only_for_what_differs(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    before = cloud.instance()
    assert cloud.provider().modify(NAME, at_once=True) == ()
    larger = cloud.changed(instance_class="db.r6g.large", storage_gib=200, multi_az=True)
    assert larger.modify(NAME, at_once=True) == ("AllocatedStorage", "DBInstanceClass", "MultiAZ")
    assert larger.modify(NAME, at_once=True) == ()
    now = cloud.instance()
    assert (now["DBInstanceClass"], now["AllocatedStorage"], now["MultiAZ"]) == ("db.r6g.large", 200, True)
    changed = {"DBInstanceClass", "AllocatedStorage", "MultiAZ"}
    assert {key: value for key, value in now.items() if key not in changed} == {
        key: value for key, value in before.items() if key not in changed
    }


def test_storage_never_shrinks(cloud: Cloud) -> None:
    cloud.provider().ensure(NAME)
    assert cloud.changed(storage_gib=50).modify(NAME, at_once=True) == ()
    assert cloud.instance()["AllocatedStorage"] == 100


def test_a_protected_instance_goes_only_when_its_name_is_said(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    before = cloud.instance()
    for confirm in (None, "", NAME, "yes"):
        with pytest.raises(ProviderError, match=f"confirm with its name, {INSTANCE}"):
            provider.destroy(NAME, confirm=confirm)
    assert cloud.instance() == before


def test_destroy_leaves_a_snapshot_and_a_secret_that_can_be_restored(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    snapshot = provider.status(NAME).final_snapshot
    provider.destroy(NAME, confirm=INSTANCE)
    assert provider.status(NAME).state is State.ABSENT
    with pytest.raises(AwsError, match="DBInstanceNotFound"):
        cloud.instance()
    kept = cloud.rds("describe_db_snapshots", DBSnapshotIdentifier=snapshot)["DBSnapshots"]
    assert [(each["DBInstanceIdentifier"], pairs(each["TagList"])) for each in kept] == [(INSTANCE, TAGS)]
    with pytest.raises(AwsError, match="DBParameterGroupNotFound"):
        cloud.parameters()
    assert "DeletedDate" in cloud.secrets("describe_secret", SecretId=SECRET)
    provider.destroy(NAME)


def test_destroy_without_a_snapshot_has_to_be_confirmed_too(cloud: Cloud) -> None:
    provider = cloud.changed(deletion_protection=False)
    provider.ensure(NAME)
    snapshot = provider.status(NAME).final_snapshot
    with pytest.raises(ProviderError, match="without a last snapshot"):
        provider.destroy(NAME, final_snapshot=False)
    provider.destroy(NAME, final_snapshot=False, confirm=INSTANCE)
    assert provider.status(NAME).state is State.ABSENT
    with pytest.raises(AwsError, match="DBSnapshotNotFound"):
        cloud.rds("describe_db_snapshots", DBSnapshotIdentifier=snapshot)


def test_an_unprotected_instance_goes_without_confirmation_but_not_without_a_snapshot(cloud: Cloud) -> None:
    provider = cloud.changed(deletion_protection=False)
    provider.ensure(NAME)
    snapshot = provider.status(NAME).final_snapshot
    provider.destroy(NAME)
    assert cloud.rds("describe_db_snapshots", DBSnapshotIdentifier=snapshot)["DBSnapshots"]


def test_a_destroyed_server_can_be_made_again(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    provider.destroy(NAME, confirm=INSTANCE)
    provider.ensure(NAME)
    assert provider.master(NAME).password == password_kept(cloud)
    assert provider.status(NAME).state is State.READY


def test_one_deleted_by_hand_is_not_silently_made_anew(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    cloud.rds("modify_db_instance", DBInstanceIdentifier=INSTANCE, DeletionProtection=False, ApplyImmediately=True)
    cloud.rds("delete_db_instance", DBInstanceIdentifier=INSTANCE, SkipFinalSnapshot=True)
    for method in (provider.ensure, provider.start, provider.modify, provider.endpoint):
        with pytest.raises(ProviderError, match=r"is gone.*restore its last snapshot"):
            method(NAME)
    provider.stop(NAME)
    provider.destroy(NAME)
    provider.ensure(NAME)
    assert provider.status(NAME).state is State.READY


def test_a_lost_secret_is_not_replaced_behind_the_instances_back(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    cloud.secrets("delete_secret", SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    with pytest.raises(ProviderError, match=f"the secret {SECRET} is gone"):
        provider.ensure(NAME)


def test_a_secret_about_to_be_deleted_is_taken_back(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    password = password_kept(cloud)
    cloud.secrets("delete_secret", SecretId=SECRET, RecoveryWindowInDays=7)
    provider.ensure(NAME)
    assert password_kept(cloud) == password


@pytest.mark.parametrize("tags", [[], [{"Key": "copyhold:platform", "Value": "main"}]])
def test_somebody_elses_secret_and_parameter_group_are_refused(cloud: Cloud, tags: list[dict[str, str]]) -> None:
    cloud.secrets("create_secret", Name=SECRET, SecretString=json.dumps({"a": "b"}), Tags=tags)
    with pytest.raises(ProviderError, match=r"secret .* is not this platform's"):
        cloud.provider().ensure(NAME)
    cloud.secrets("delete_secret", SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    cloud.rds(
        "create_db_parameter_group",
        DBParameterGroupName=INSTANCE,
        DBParameterGroupFamily="postgres16",
        Description="-",
        Tags=tags,
    )
    with pytest.raises(ProviderError, match=r"parameter group .* is not this platform's"):
        cloud.provider().ensure(NAME)
    assert cloud.parameters() == {}


def test_a_try_with_another_version_leaves_nothing_in_the_way(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider._parameters(NAME).ensure("postgres15")
    provider.ensure(NAME)
    groups = cloud.rds("describe_db_parameter_groups", DBParameterGroupName=INSTANCE)["DBParameterGroups"]
    assert [group["DBParameterGroupFamily"] for group in groups] == ["postgres16"]


def test_stop_and_start_may_be_repeated(cloud: Cloud) -> None:
    provider = cloud.provider()
    provider.ensure(NAME)
    for method, state in ((provider.stop, State.STOPPED), (provider.start, State.READY)):
        method(NAME)
        method(NAME)
        assert provider.status(NAME).state is state


@pytest.mark.slow
def test_the_endpoint_may_lead_to_a_server_here(cloud: Cloud) -> None:
    with throwaway_server() as here:
        provider = cloud.provider(endpoints={INSTANCE: f"{here.host}:{here.port}"})
        address = provider.ensure(NAME)
        assert address == ServerAddress(host=here.host, port=here.port)
        with psycopg.connect(address.dsn(database="postgres", user="postgres")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("text", ["", "somewhere", ":5432", "somewhere:", "somewhere:x"])
def test_an_endpoint_that_is_none_is_refused(cloud: Cloud, text: str) -> None:
    with pytest.raises(ProviderError, match="which is not host:port"):
        cloud.provider(endpoints={INSTANCE: text}).ensure(NAME)


@pytest.mark.parametrize(("platform", "server"), [("Main", "a"), ("main", "a_b"), ("main", "a" * 60), ("main", "a--b")])
def test_a_name_that_aws_would_refuse_is_refused_here(cloud: Cloud, platform: str, server: str) -> None:
    with pytest.raises(InvalidError, match="cannot name an RDS instance"):
        cloud.provider(platform=platform, shapes={server: SHAPE}).ensure(server)


def test_a_refusal_by_aws_says_what_to_do(clouds: dict[str, Any]) -> None:
    cloud = clouds["moto"]
    cloud.reset()
    with pytest.raises(AwsError, match=r"DBSubnetGroupNotFoundFault.*make the DB subnet group"):
        cloud.changed(subnet_group="nowhere").ensure(NAME)
