"""The command line, run as its user does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def parity(*arguments, cwd=ROOT, env=None, python=sys.executable):
    return subprocess.run(
        [python, "-m", "parity", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
