"""The tenant app of other versions: named in the settings of processes that run beside the platform's."""

from __future__ import annotations

from dataclasses import replace

from tenant_app import inbox

old = replace(inbox, revisions=frozenset({"0001"}))
"""It was written when the chain ended a revision earlier."""
strict = replace(inbox, revisions=frozenset({"0002"}))
"""It does not work with the first revision any more."""
