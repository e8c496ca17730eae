"""`parity doctor` says what a run would compute on, and `--repeat` whether two runs are one."""

import json
import os

import numpy as np
from commands import ROOT, parity

from parity.frameworks import COLUMNS, FRAMEWORKS
from parity.verdict.determinism import unequal


def test_the_doctor_says_what_each_framework_runs_on():
    done = parity("doctor", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert list(document["backends"]) == list(COLUMNS)
    for name, finding in document["backends"].items():
        assert finding["devices"] == ["cpu"]
        assert finding["device"]["id"] == "cpu"
        assert finding["precisions"].keys() == {"float64", "float32", "bfloat16", "float16"}
        # ONNX Runtime has no backward pass.
        assert len(finding["precision_probe"]) == (2 if name == "onnx" else 6)
        assert finding["switches"]
        assert finding["seconds"] > finding["import_seconds"] > 0
        assert finding["why"] == ""


def test_where_a_run_would_not_work_the_doctor_says_why_and_is_exit_1():
    done = parity("doctor", "--framework", "torch,flax", "--device", "flax=tpu")
    assert done.returncode == 1
    assert "flax sees no tpu; it sees cpu" in done.stdout
    assert "would work" in done.stdout


def test_two_runs_on_one_device_are_bit_for_bit_the_same():
    done = parity("run", "--case", "CBAM/1x1", "--check", "forward,gradients", "--repeat", "2")
    assert done.returncode == 0, done.stdout
    for name in FRAMEWORKS:
        assert f"{name} in float32: 0 arrays changed in 2 runs, 4 checks" in done.stdout


def test_what_changes_from_run_to_run_is_named(tmp_path):
    """A torch whose sigmoid has another last bit in every process, as an unordered sum on a GPU would."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "if 'parity.workers.worker' in sys.orig_argv:\n"
        "    import torch\n"
        "    plain, folder = torch.nn.functional.sigmoid, Path(__file__).parent\n"
        "    mutant = 1e-6 * len(list(folder.glob('*.started')))\n"
        "    (folder / f'{os.getpid()}.started').touch()\n"
        "    torch.nn.functional.sigmoid = lambda x: plain(x) * (1 + mutant) if x.dtype == torch.float32 else plain(x)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = parity("run", "--case", "SE/normal", "--framework", "torch", "--repeat", "2", env=env)
    assert done.returncode == 1
    assert "FAILED SE/normal in torch, float32, forward eval: output: not bit for bit the same" in done.stdout
    assert "torch in float64: 0 arrays changed in 2 runs" in done.stdout


def test_bits_are_compared_and_not_values():
    a = {"x": np.array([0.0, np.nan], np.float32), "y": np.ones(2, np.float32)}
    assert unequal(a, {key: array.copy() for key, array in a.items()}) == set()
    assert unequal(a, {**a, "x": np.array([-0.0, np.nan], np.float32)}) == {"x"}
    assert unequal(a, {**a, "y": np.ones(2)}) == {"y"}
    assert unequal(a, {"x": a["x"]}) == {"y"}
