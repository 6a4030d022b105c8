"""Which homes a version of the tenant app may serve: expand and contract as one decision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AppRange:
    """The revisions that an app works with, an unbroken range of its chain, and those of the chain before them."""

    revisions: Collection[str]
    older: Collection[str] = frozenset()

    def serves(self, revision: str | None, needs: str | None) -> bool:
        """Whether the app works with a home at `revision`, which asks of an app that it knows at least `needs`.

        A revision that is neither in the range nor older came later, and `needs` says whether that matters. A home that
        does not say is served by those alone that know its revision.
        """
        if revision in self.revisions:
            return True
        later = revision is not None and revision not in self.older
        return later and needs is not None and (needs in self.revisions or needs in self.older)
