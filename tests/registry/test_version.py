"""Which code runs: the same everywhere for the same sources."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

from control_plane.version import code_version


def test_the_version_names_the_package_and_sums_up_its_sources() -> None:
    assert re.fullmatch(re.escape(version("copyhold")) + r"\+[0-9a-f]{8}", code_version())


def test_two_processes_of_the_same_code_say_the_same() -> None:
    command = "from control_plane.version import code_version; print(code_version())"
    told = {
        subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1
