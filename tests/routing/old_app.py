"""The tenant app as it was when its chain ended a revision earlier: named in the settings of an old process."""

from __future__ import annotations

from dataclasses import replace

from tenant_app import inbox

app = replace(inbox, revisions=frozenset({"0001"}))
