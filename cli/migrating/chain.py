"""The chain whose revisions are written and looked at."""

from __future__ import annotations

import os

from control_plane.routing.seam import load_tenant_app
from control_plane.settings import Settings
from migrations.fleet.chains import Chain, tenant_chain


def app_chain() -> Chain:
    """The chain of the app that COPYHOLD_TENANT_APP names, or of ours. No platform is needed for it."""
    usual = Settings.model_fields["tenant_app"].default
    return tenant_chain(load_tenant_app(os.environ.get("COPYHOLD_TENANT_APP", usual)).migrations)
