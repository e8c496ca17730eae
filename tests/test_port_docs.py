"""The tutorial of `parity port`: what it says is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "port.md").read_text()


def parity_port(folder):
    command = re.search(r"^parity (port .*)$", PAGE, re.MULTILINE)[1].split()
    return subprocess.run(
        [sys.executable, "-m", "parity", *command, "--check", "eval", "--dtype", "float64"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_tutorial_reads_the_line_to_change_and_is_right_after_it(tmp_path):
    for name, text in re.findall(r"^```py\n# (\w+\.py)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(f"# {name}\n{text}")
    answers = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    wrong = parity_port(tmp_path)
    assert wrong.returncode == 1, wrong.stderr
    for line in answers[0].splitlines():
        assert line in wrong.stdout
    port = tmp_path / "net_flax.py"
    port.write_text(port.read_text().replace('padding="SAME"', "padding=1"))
    right = parity_port(tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    assert answers[1].strip() in right.stdout
