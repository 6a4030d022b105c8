"""Programs that never speak to AWS do not pay for its library."""

from __future__ import annotations

import subprocess
import sys


def test_the_provider_imports_boto3_only_when_aws_is_called() -> None:
    program = (
        "import sys, provisioning.providers.rds.provider as it\n"
        "it.RdsProvider(platform='main', shapes={})\n"
        "print([name for name in ('boto3', 'botocore') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
