"""The inbox with a longer chain: the benchmark's own, at the place that it names in COPYHOLD_BENCH_CHAIN."""

from __future__ import annotations

import os
from dataclasses import replace

from tenant_app import inbox

app = replace(inbox, migrations=os.environ["COPYHOLD_BENCH_CHAIN"], revisions=frozenset({"0001", "0002", "0003"}))
