"""Servers as RDS instances: made, waited for, changed and deleted, each step repeatable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from control_plane.domain.rds import RdsShape
from provisioning.providers.base import ProviderError, ServerAddress
from provisioning.providers.rds.aws import Account, AwsError, own_accounts
from provisioning.providers.rds.changing import Change
from provisioning.providers.rds.deleting import Deletion
from provisioning.providers.rds.instance import Instance
from provisioning.providers.rds.master import MasterLogin, MasterSecret
from provisioning.providers.rds.names import Names
from provisioning.providers.rds.pace import Pace
from provisioning.providers.rds.parameters import ParameterGroup
from provisioning.providers.rds.requests import check_adoptable, creation, differences
from provisioning.providers.rds.states import AFTER_A_LOSS, RdsStatus, State
from provisioning.providers.rds.waiting import Progress, Wait

READY_WITHIN_S = 3600.0
"""A large instance with a standby takes AWS half an hour."""


@dataclass(frozen=True, kw_only=True)
class RdsProvider:
    """The `Provider` of RDS instances. Nothing is kept here: what exists is asked of AWS, by name and tags."""

    platform: str
    """Tells this platform's instances from another's in the same account; never changed."""
    shapes: Mapping[str, RdsShape]
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Instance -> host:port, where it is reached by another address than AWS names; a folder is that of a socket."""
    pace: Pace = field(default_factory=Pace)
    accounts: Callable[[str], Account] = field(default_factory=own_accounts)
    """Region -> what can be asked there."""
    ours = True

    def ensure(self, name: str) -> ServerAddress:
        """As `begin`, then wait until AWS has given the instance an address."""
        self.begin(name)
        self._wait(name, READY_WITHIN_S).until(lambda seen: seen.address is not None)
        return self.endpoint(name)

    def begin(self, name: str) -> RdsStatus:
        """Make the instance if it does not exist, without waiting; put its parameter group right if it does.

        An instance that bears this server's name without its tags, or that differs in what cannot be changed, is
        refused. So is making an instance anew where one was that nobody destroyed here: it would be empty.
        """
        instance, shape = self._instance(name), self.shapes[name]
        status = instance.status()
        if status.state is State.ABSENT:
            return self._create(name, shape)
        check_adoptable(instance.names, shape, status.described)
        if status.state is State.LEAVING:
            status.refuse()
        self._parameters(name).ensure(shape.parameter_family)
        self._secret(name).remember(status.resource_id)
        return status

    def status(self, name: str) -> RdsStatus:
        """One look; an instance that is not there, or is broken, is a status and no error."""
        return self._instance(name).status()

    def await_ready(
        self, name: str, progress: Progress = lambda _: None, deadline_s: float = READY_WITHIN_S
    ) -> RdsStatus:
        """Return once the instance is available; `progress` hears of each state as it changes.

        ProviderError when it is stopped, gone or broken, or not available after `deadline_s` seconds.
        """
        return self._wait(name, deadline_s, progress).until_ready()

    def attend(self, name: str) -> RdsStatus:
        """One look at an instance that is to become ready, without waiting; a restart that it needs is asked for.

        ProviderError when it is stopped, gone or broken.
        """
        instance, seen = self._instance(name), self.status(name)
        if seen.state is State.ABSENT:
            self.pace.sleep(self.pace.poll_s)  # AWS may miss it for a moment right after it was made
            seen = instance.status()
        seen.refuse()
        if seen.state is State.STOPPED:
            raise seen.error("is stopped; start it")
        if seen.state is State.READY and seen.restart_needed:
            instance.ask("reboot_db_instance")
        return seen

    def start(self, name: str) -> None:
        """As the protocol says; only a stopped instance has to be started."""
        instance = self._instance(name)

        def started(seen: RdsStatus) -> bool:
            if seen.state is State.STOPPED:
                instance.ask("start_db_instance")
            return seen.state is State.READY

        self._wait(name, READY_WITHIN_S).until(started)

    def stop(self, name: str) -> None:
        """As the protocol says; AWS starts a stopped instance again after 7 days. Nothing to stop is no error."""
        instance = self._instance(name)

        def stopped(seen: RdsStatus) -> bool:
            if seen.state is State.READY:
                instance.ask("stop_db_instance")
            return seen.state is State.STOPPED

        if self.status(name).state is not State.ABSENT:
            self._wait(name, READY_WITHIN_S).until(stopped)

    def restart(self, name: str, progress: Progress = lambda _: None) -> None:
        """Restart an instance whose parameters wait for it, once and only then; sessions on it are cut."""
        instance, wait = self._instance(name), self._wait(name, READY_WITHIN_S, progress)

        def asked(seen: RdsStatus) -> bool:
            at_rest = seen.state is State.READY
            return at_rest and (not seen.restart_needed or instance.ask("reboot_db_instance"))

        wait.until(asked)
        wait.until(lambda seen: seen.state is State.READY and not seen.restart_needed)

    def modify(self, name: str, *, at_once: bool = False) -> tuple[str, ...]:
        """Ask AWS for what differs from the shape, and say what that was, as AWS names it; empty when nothing differs.

        Waits while AWS is at work on the instance, not for the change itself: `await_ready` sees the end of that.
        Without `at_once`, what interrupts is left to the maintenance window.
        """
        return Change(
            instance=self._instance(name),
            shape=self.shapes[name],
            wait=self._wait(name, READY_WITHIN_S),
            at_once=at_once,
        ).run()

    def differences(self, name: str, *, at_once: bool = False) -> tuple[str, ...]:
        """What `modify` would ask for; ProviderError when it could not be changed so."""
        seen = self.status(name)
        if seen.state is State.ABSENT:
            seen.refuse()
        check_adoptable(self.names(name), self.shapes[name], seen.described)
        return tuple(sorted(differences(self.names(name), self.shapes[name], seen.described, at_once=at_once)))

    def destroy(self, name: str, *, confirm: str | None = None, final_snapshot: bool = True) -> None:
        """Delete the instance with all its data, its parameter group and, 30 days later, its secret.

        `confirm`, the instance's own identifier, is needed while deletion protection is on, which it takes away, and
        where no final snapshot is to be left. `status` tells beforehand what that snapshot will be called.
        """
        self._deletion(name, confirm, final_snapshot=final_snapshot).run()
        parameters = self._parameters(name)
        self._wait(name, READY_WITHIN_S).repeat(parameters.delete, what="its parameter group is still in use")
        self._secret(name).delete()

    def dismiss(self, name: str, *, confirm: str | None = None, final_snapshot: bool = True) -> RdsStatus | None:
        """The same without waiting: one look, and what can be done next. None once all of it is gone."""
        seen = self.status(name)
        if not self._deletion(name, confirm, final_snapshot=final_snapshot).go_on(seen):
            return seen
        if not self._parameters(name).delete():
            return seen
        self._secret(name).delete()
        return None

    def check_free(self, name: str) -> None:
        """ProviderError when something in AWS bears a name that this server's things would get."""
        if self.status(name).state is not State.ABSENT or self._secret(name).instance_made() is not None:
            raise ProviderError(
                f"RDS instance {self.names(name).instance} is there, or was; server add goes on with it"
            )
        self._parameters(name).check_ours()

    def endpoint(self, name: str) -> ServerAddress:
        """Where the instance is reached; ProviderError as long as it has no address."""
        status = self.status(name)
        if status.address is None:
            status.refuse()
            raise status.error(f"has no address yet: it is {status.word}")
        mapped = self.endpoints.get(status.instance)
        return status.address if mapped is None else _parse(status.instance, mapped)

    def master(self, name: str) -> MasterLogin:
        """The login that may do everything there, from Secrets Manager. Hand it to nobody, log it nowhere."""
        return self._secret(name).read()

    def names(self, name: str) -> Names:
        """What the server's things are called in AWS."""
        return Names(platform=self.platform, server=name)

    def _create(self, name: str, shape: RdsShape) -> RdsStatus:
        instance, secret = self._instance(name), self._secret(name)
        if (made := secret.instance_made()) is not None:
            raise ProviderError(
                f"RDS instance {instance.names.instance} ({made}) is gone: somebody deleted it by hand; {AFTER_A_LOSS}",
                instance=instance.names.instance,
                state="absent",
            )
        login = secret.ensure(shape.kms_key)
        self._parameters(name).ensure(shape.parameter_family)
        try:
            instance.account.call("rds", "create_db_instance", **creation(instance.names, shape, login))
        except AwsError as error:
            if error.reason != "DBInstanceAlreadyExists":  # an earlier try, whose answer was lost
                raise
        status = instance.status()
        if status.resource_id:
            secret.remember(status.resource_id)
        return status

    def _deletion(self, name: str, confirm: str | None, *, final_snapshot: bool) -> Deletion:
        return Deletion(
            instance=self._instance(name),
            confirmed=confirm == self.names(name).instance,
            final_snapshot=final_snapshot,
            wait=self._wait(name, READY_WITHIN_S),
        )

    def _instance(self, name: str) -> Instance:
        return Instance(names=self.names(name), account=self._account(name))

    def _secret(self, name: str) -> MasterSecret:
        return MasterSecret(names=self.names(name), account=self._account(name))

    def _parameters(self, name: str) -> ParameterGroup:
        return ParameterGroup(names=self.names(name), account=self._account(name))

    def _account(self, name: str) -> Account:
        if name not in self.shapes:
            raise ProviderError(f"no shape is given for the RDS server {name}")
        return self.accounts(self.shapes[name].region)

    def _wait(self, name: str, deadline_s: float, progress: Progress = lambda _: None) -> Wait:
        return Wait(look=self._instance(name).status, pace=self.pace, deadline_s=deadline_s, progress=progress)


def _parse(instance: str, text: str) -> ServerAddress:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ProviderError(f"the endpoint of {instance} is {text!r}, which is not host:port")
    return ServerAddress(host=host.strip("[]"), port=int(port))
