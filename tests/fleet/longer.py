"""The tenant app's chain as a next version has it: with more revisions, which a test writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import migrations
from migrations.fleet.chains import Chain, tenant_chain
from tests.fleet.writing import write_revision


def longer_chain(folder: Path, *bodies: str, expands: bool = True) -> Chain:
    """The platform's own, copied to `folder`, and a revision more for each body. They expand, or do not."""
    shutil.copytree(Path(migrations.__path__[0]) / "tenant", folder)
    before = tenant_chain("migrations:tenant").head
    for number, body in enumerate(bodies, start=int(before) + 1):
        before = write_revision(folder, f"{number:04}", before, body)
        with (folder / "versions" / f"{before}.py").open("a") as module:
            module.write(f"\nexpands = {expands}\n")
    return tenant_chain(str(folder))
