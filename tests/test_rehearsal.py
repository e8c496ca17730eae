"""The whole way of `--device gpu`, rehearsed with stand-ins for GPUs in the workers: nothing here ran on one."""

import json
import os

import pytest
from commands import ROOT, parity
from test_packed import repacked

from parity.frameworks import FRAMEWORKS, switches
from parity.frameworks.table import TABLE

HIDDEN = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "HIP_VISIBLE_DEVICES")
LIBRARIES = {
    "torch": ("cudnn.conv", "cuda.matmul"),
    "paddle": ("cudnn.conv", "cublas.matmul"),
    "flax": ("convolution", "matmul"),
}


def rehearse(scenarios, *arguments, command="run"):
    """A run in which each framework named has stand-ins for GPUs."""
    env = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    path = os.pathsep.join([str(ROOT / "tests" / "standins"), str(ROOT)])
    env |= {"PYTHONPATH": path, "PARITY_STANDINS": ",".join(f"{key}:{value}" for key, value in scenarios.items())}
    return parity(command, "--framework", ",".join(scenarios), *arguments, env=env)


def test_two_devices_the_switches_and_the_probe(tmp_path):
    report = tmp_path / "report.json"
    wanted = ("--device", "gpu", "--device", "paddle=cuda:1", "--device", "flax=gpu:1")
    asked = ("--case", "SE/1x1", "--check", "forward,gradients", "--json", str(report))
    done = rehearse(dict.fromkeys(FRAMEWORKS, "whole"), *wanted, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all the same: 1 case, 24 checks, torch on cuda:0; paddle, flax on cuda:1" in done.stdout
    document = json.loads(report.read_text())
    devices = {"torch": "cuda:0", "paddle": "cuda:1", "flax": "cuda:1"}
    assert {row["framework"]: row["device"] for row in document["results"]} == devices
    for name, facts in document["environment"]["backends"].items():
        assert facts["devices"] == ["cuda:0", "cuda:1", "cpu"]
        assert facts["device"]["id"] == devices[name]
        assert facts["device"]["name"].startswith("Stand-in")
        assert facts["device"]["memory"] == 80 << 30
        assert facts["device"]["runtime"]
        assert f"{name} on {devices[name]} (Stand-in" in done.stdout
        for key, value in TABLE[name].switches.items():
            assert value in facts["switches"][key]
        measured = {key.partition(" ")[0] for key in facts["precision_probe"]}
        assert measured == set(LIBRARIES[name])


def test_a_device_that_is_full_lost_or_dead_costs_its_own_results_alone(tmp_path):
    report = tmp_path / "report.json"
    scenarios = {"torch": "full", "paddle": "dead", "flax": "lost"}
    asked = ("--case", "SE/1x1,CBAM/default", "--dtype", "float32", "--json", str(report))
    done = rehearse(scenarios, "--device", "gpu", *asked)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = json.loads(report.read_text())["results"]
    why = {(row["framework"], row["case"], row["check"]): row["why"] for row in rows if not row["passed"]}
    for mode in ("eval", "train"):
        assert "OutOfMemoryError: CUDA out of memory" in why["torch", "CBAM/default", f"forward {mode}"]
        assert ("torch", "SE/1x1", f"forward {mode}") not in why
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in why["flax", "CBAM/default", f"forward {mode}"]
        for case in ("SE/1x1", "CBAM/default"):
            assert "the paddle process crashed (SIGABRT)" in why["paddle", case, f"forward {mode}"]
    assert {row["framework"] for row in rows} == set(FRAMEWORKS)


@pytest.mark.parametrize(
    ("scenario", "device", "code", "words"),
    [
        ("no-float64", "gpu", 0, "float64 left out in torch on mps:0: Cannot convert a MPS Tensor to float64"),
        ("tf32", "gpu", 2, "TF32 (or lower) is on in torch: cudnn.conv; its forward is off by"),
        ("whole", "cuda:2", 2, "torch sees no cuda:2; it sees cuda:0, cuda:1, cpu"),
    ],
)
def test_what_a_device_cannot_do_is_said(scenario, device, code, words):
    done = rehearse({"torch": scenario}, "--device", device, "--case", "SE/1x1")
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr


def test_a_capsules_executables_are_chosen_by_the_devices_capability(tmp_path):
    """Those of a processor, said to be for such a GPU, run on the stand-in for one."""
    asked = ("--case", "SE/1x1", "--check", "forward", "--dtype", "float32", "--compiled", "cpu")
    assert parity("capsule", *asked, "-o", str(tmp_path / "cpu.capsule")).returncode == 0

    def relabel(capability):
        def change(entries, _):
            for entry in entries:
                entry["made"].update(platform="cuda", capability=capability)

        path = repacked(tmp_path / "cpu.capsule", tmp_path / f"{capability}.capsule", change)
        record = tmp_path / f"{capability}.record"
        wanted = (str(path), "--device", "gpu:1", "--run-compiled", "-o", str(record))
        return rehearse({"flax": "whole"}, *wanted, command="answer")

    done = relabel("9.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("flax on cuda:1 (Stand-in)")
    assert "flax, executables of the capsule and compiled here: bit for bit the same in 2 of 2 checks" in done.stdout
    done = relabel("8.0")
    assert done.returncode == 2
    assert "the executables are for cuda 8.0, this machine is cuda 9.0: none was run" in done.stderr


def test_a_run_on_a_gpu_is_not_held_to_the_processor():
    for name in FRAMEWORKS:
        assert switches.environment(name, "gpu").get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")
        assert switches.environment(name, "cpu")["CUDA_VISIBLE_DEVICES"] == ""
