"""`./run bench [NAME]`: one benchmark, or a list of them. The last line printed is one JSON object."""

from __future__ import annotations

import importlib
import json
import sys

NAMES = {
    "blackhole": "a silo whose server falls silent under load, and what the other tenants notice",
    "fleet": "a migration of a thousand schemas and hundreds of silos against raw psycopg and django-tenants",
    "growth": "10, 100 and 1,000 tenants: memory, disk, connections, every fleet command, what a tenant costs",
    "move": "a tenant moved between all models under load: its longest wait, the others, what is lost",
    "pooler": "one more database at a pooler that serves 100, 1,000 or 5,000",
    "provision": "from a wish to the first answered request; a thousand silos at a steady rate",
    "routing": "the road against a hard-wired handler; hundreds of silos; signup and silo creation",
}


def main() -> int:
    """Run the benchmark named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        lines = "\n".join(f"  {name:<11} {what}" for name, what in NAMES.items())
        sys.stderr.write(f"usage: ./run bench NAME\n{lines}\n")
        return 0 if len(sys.argv) == 1 else 2
    result = importlib.import_module(f"benchmarks.{sys.argv[1]}").run()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
