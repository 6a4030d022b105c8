"""Servers that others run, as a `Provider`: their addresses are given, and whether they answer is all that is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from provisioning.providers.base import ProviderError, ServerAddress
from provisioning.providers.existing.examine import Access, examine
from provisioning.providers.existing.facts import Trouble

START_TIMEOUT_S = 60.0
POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class ExistingProvider:
    """The `Provider` of servers whose addresses are given. It starts, stops and deletes nothing of theirs."""

    servers: Mapping[str, Access]
    start_within_s: float = START_TIMEOUT_S
    ours = False

    def ensure(self, name: str) -> ServerAddress:
        """See Provider; one that is not known by name is refused."""
        address = self._access(name).address
        return ServerAddress(host=address.host, port=address.port)

    def start(self, name: str) -> None:
        """Wait for it; ProviderError with what is in the way when it does not let its administrator in soon."""
        access, deadline = self._access(name), time.monotonic() + self.start_within_s
        while (trouble := examine(access).trouble) is not None:
            if trouble.what not in ("port", "login") or time.monotonic() > deadline:
                raise ProviderError(in_words(name, trouble), server=name)
            time.sleep(POLL_S)

    def stop(self, name: str) -> None:
        """Leave it alone: others run it."""
        self._access(name)

    def destroy(self, name: str) -> None:
        """Leave it alone: it is somebody else's."""
        self._access(name)

    def _access(self, name: str) -> Access:
        if name not in self.servers:
            raise ProviderError(f"no address is given for the server {name}; copyhold server add {name} --address …")
        return self.servers[name]


def in_words(name: str, trouble: Trouble) -> str:
    """What is in the way, and what removes it, in a line."""
    return f"server {name}: {trouble.why}; {trouble.remedy}"
