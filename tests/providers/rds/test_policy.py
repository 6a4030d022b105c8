"""The policy in the handbook allows exactly what is called."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.providers.rds.clouds import INSTANCE, NAME, Cloud
from tests.providers.rds.fake import FakeRds
from tests.providers.rds.recorder import Recorder

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "rds.md"
ASKED_OF_THE_CALLER = {"rds:AddTagsToResource", "rds:CreateDBSnapshot"}
"""By AWS, behind a call of another name."""


def test_the_policy_allows_what_is_called_and_no_more(slow_cloud: Cloud, fake: FakeRds) -> None:
    recorder = Recorder(account=slow_cloud.aws)
    provider = slow_cloud.provider(accounts=lambda _: recorder)
    provider.ensure(NAME)
    provider.stop(NAME)
    provider.start(NAME)
    fake.world.instances[INSTANCE].restart_needed = True
    provider.restart(NAME)
    for _ in ("all of it", "again, with the secret restored"):
        provider.destroy(NAME, confirm=INSTANCE)
        provider.ensure(NAME)
    assert {each for each in allowed() if not each.startswith("kms:")} == recorder.actions | ASKED_OF_THE_CALLER


def allowed() -> set[str]:
    """Every action in the page's policy."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return {action for statement in json.loads(blocks[0])["Statement"] for action in statement["Action"]}
