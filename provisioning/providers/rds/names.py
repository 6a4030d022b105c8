"""What the things of one server are called in AWS, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.rds import instance_name
from provisioning.providers.base import ProviderError

SERVER_TAG = "copyhold:server"
PLATFORM_TAG = "copyhold:platform"


@dataclass(frozen=True, kw_only=True)
class Names:
    """All names follow from the platform and the server, so that a repeated call finds what an earlier one made."""

    platform: str
    server: str

    def __post_init__(self) -> None:
        instance_name(self.platform, self.server)

    @property
    def instance(self) -> str:
        return instance_name(self.platform, self.server)

    @property
    def parameter_group(self) -> str:
        return self.instance

    @property
    def secret(self) -> str:
        return f"copyhold/{self.platform}/{self.server}/master"

    @property
    def tags(self) -> list[dict[str, str]]:
        return [{"Key": PLATFORM_TAG, "Value": self.platform}, {"Key": SERVER_TAG, "Value": self.server}]

    def final_snapshot(self, resource_id: str) -> str:
        """The same for every try to delete one instance, another for the next instance of this name."""
        return f"{self.instance}-final-{resource_id.lower().removeprefix('db-')}"

    def claim(self, what: str, tags: Iterable[Mapping[str, str]]) -> None:
        """ProviderError unless the tags say that it is this server's."""
        found = {tag["Key"]: tag["Value"] for tag in tags}
        if any(found.get(tag["Key"]) != tag["Value"] for tag in self.tags):
            raise ProviderError(
                f"{what} exists and is not this platform's server {self.server} "
                f"(its tags {PLATFORM_TAG} and {SERVER_TAG} say whose it is); choose another name for the server"
            )
