"""The benchmark of modules works, on maps of a few pixels: how fast is for docs/benchmarks.md."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))
measure, modules = import_module("measure"), import_module("modules")


def run(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "modules.py"), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_a_row_is_measured_and_the_page_keeps_its_text(tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Mine\n\n{modules.MARKS[0]}\nold numbers\n{modules.MARKS[1]}\n\nWhy so.\n")
    done = run("--tiny", "--folder", tmp_path, "--only", "paddle/SE/eager/train")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "benchmarks.json").read_text())["rows"]
    assert list(rows) == ["paddle/SE/eager/train"]
    found = rows["paddle/SE/eager/train"]
    assert set(found["ms"]) == set(found["MiB"]) == {"ours", "plain"}
    assert all(0 < low <= middle <= high for low, middle, high in found["ms"].values())
    text = page.read_text()
    assert text.startswith("# Mine\n")
    assert text.endswith("Why so.\n")
    assert "old numbers" not in text
    assert "| SE | eager |" in text
    assert (tmp_path / "benchmarks.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "torch/SEE"), "--only torch/SEE fits none of torch/SE/eager NCHW/eval"),
        (("--only", "paddle/SE/eager/eval", "--before", "/nowhere"), "/nowhere/torch_impl is not there"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments, message, tmp_path):
    done = run("--tiny", "--folder", tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "benchmarks.json").exists()


@pytest.mark.parametrize("name", sorted(set(measure.ROWS) - {"SEResNet-50", "ResNet-50"}))
def test_the_plain_modules_are_of_our_shapes(name):
    import numpy as np
    import with_flax
    import with_paddle

    row = measure.ROWS[name].tiny()
    x = np.ones(row.shape, np.float32)
    for backend in (with_paddle, with_flax):
        shapes = set()
        for build in measure.candidates(backend, row, "eval", str(ROOT)).values():
            model = build()
            model.eval()
            shapes.add(tuple(model(backend.as_input(x)).shape))
        assert len(shapes) == 1, (backend.NAME, shapes)


def test_a_ratio_is_of_one_round():
    found = measure.summary({"ours": [1.0, 4.0, 9.0], "peer": [2.0, 4.0, 3.0]})
    assert found["ratio"]["ours"]["peer"][1] == 1.0
    assert modules.ratio({**found, "ms": {"ours": [1, 2, 3], "slow": [4, 5, 6], "peer": [2, 3, 4]}})[0] == "peer"


def test_candidates_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    measure.SHORTEST, kept = 0.0, measure.SHORTEST
    try:
        found = measure.interleave(calls, 3)
    finally:
        measure.SHORTEST = kept
    assert "".join(order).endswith("abcbcacab")
    assert all(len(times) == 3 for times in found.values())
