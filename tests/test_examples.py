"""The example trains, ports and says that everything is the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits.py"


def test_the_digits_arrive_unchanged(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--no-curves", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"(torch|paddle|flax|onnx) +([\d.]+)% +360 of 360 .* same", done.stdout)
    assert [framework for framework, _ in rows] == ["torch", "paddle", "flax", "onnx"]
    assert all(float(accuracy) >= 97 for _, accuracy in rows)
    assert (tmp_path / "attention.png").stat().st_size > 10_000


def test_another_framework_is_one_line(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--framework", "keras", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert done.returncode == 2
    assert "must be one of torch, paddle, flax, got 'keras'" in done.stderr
    assert not list(tmp_path.iterdir())


def environment():
    return {**os.environ, "PYTHONPATH": str(EXAMPLE.parent.parent), "COLUMNS": "110"}
