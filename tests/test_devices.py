"""The device that a framework computes on, what it is refused, and the switches that reach its process."""

import json
import os

import pytest
from commands import ROOT, parity

from parity import frameworks
from parity.errors import ParityError
from parity.frameworks import FRAMEWORKS, TABLE, devices, switches

SEEN = ["cuda:0", "cuda:1", "cpu"]


def started_with(code, folder):
    """An environment in which every worker runs `code` before anything else."""
    (folder / "sitecustomize.py").write_text(
        f"import os, sys\nif 'parity.workers.worker' in sys.orig_argv:\n    {code}\n"
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.mark.parametrize(
    ("wanted", "seen", "device"),
    [
        ("cpu", SEEN, "cpu"),
        ("auto", SEEN, "cuda:0"),
        ("auto", ["cpu"], "cpu"),
        ("auto", ["tpu:0", "cpu"], "tpu:0"),
        ("gpu", SEEN, "cuda:0"),
        ("gpu:1", SEEN, "cuda:1"),
        ("gpu", ["mps:0", "cpu"], "mps:0"),
        ("gpu", ["rocm:0", "cpu"], "rocm:0"),
        ("cuda:1", SEEN, "cuda:1"),
    ],
)
def test_a_word_means_a_device_that_is_seen(wanted, seen, device):
    assert devices.resolve(devices.check(wanted), seen, "torch") == device


@pytest.mark.parametrize(
    ("wanted", "seen"), [("gpu", ["cpu"]), ("gpu", ["tpu:0", "cpu"]), ("cuda:2", SEEN), ("mps", SEEN)]
)
def test_a_device_that_is_not_seen_is_refused_with_those_that_are(wanted, seen):
    with pytest.raises(ParityError, match=f"torch sees no {wanted}; it sees {', '.join(seen)}"):
        devices.resolve(wanted, seen, "torch")


def test_a_device_for_one_framework_counts_more_than_one_for_all():
    on_cpu = dict.fromkeys((*FRAMEWORKS, "onnx"), "cpu")
    assert devices.parse([]) == on_cpu
    assert devices.parse(["flax=gpu", "auto"]) == {**on_cpu, "torch": "auto", "paddle": "auto", "flax": "gpu"}
    assert devices.parse(["flax=cuda:1"], {"torch": "gpu"}) == {**on_cpu, "torch": "gpu", "flax": "cuda:1"}


@pytest.mark.parametrize("value", ["cdua", "cuda:x", "cuda:", "cpu:1", "auto:0", "flax=", "jax=gpu", ""])
def test_what_names_no_device_is_refused(value):
    with pytest.raises(ParityError):
        devices.parse([value])


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_processor_is_seen_and_selected_and_its_precisions_are_tried(name):
    adapter = frameworks.load(name)
    assert adapter.available() == ["cpu"]
    adapter.select("cpu")
    assert isinstance(adapter.describe("cpu"), dict)
    refused = {precision: why for precision, why in devices.try_precisions(adapter.multiply).items() if why}
    # Paddle multiplies no halves on a processor, and says so.
    assert refused.keys() == ({"bfloat16", "float16"} if name == "paddle" else set())
    assert all("kernel" in why for why in refused.values())


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_gpu_that_is_not_there_is_exit_2_with_what_is(name):
    done = parity("run", "--case", "SE/1x1", "--framework", name, "--device", f"{name}=gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"parity: {name} sees no gpu; it sees cpu\n"


def test_switches_stand_in_the_worker_before_the_framework_is_imported(tmp_path):
    code = (
        f"open(os.path.join({str(tmp_path)!r}, sys.orig_argv[-2]), 'w').write(__import__('json').dumps("
        "[dict(os.environ), sorted({'torch', 'paddle', 'jax'} & set(sys.modules))]))"
    )
    env = started_with(code, tmp_path) | {"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    report = tmp_path / "report.json"
    done = parity("run", "--case", "SE/1x1", "--verbose", "--json", str(report), env=env)
    assert done.returncode == 0, done.stderr
    backends = json.loads(report.read_text())["environment"]["backends"]
    for name in FRAMEWORKS:
        environment, imported = json.loads((tmp_path / name).read_text())
        assert imported == []
        for key, value in TABLE[name].switches.items():
            assert environment[key] in (value, f"--xla_cpu_enable_fast_math=false {value}")
            assert backends[name]["switches"][key] == environment[key]
            assert f"{key}={environment[key]}" in done.stdout.replace("\n", " ")
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
        assert backends[name]["device"]["id"] == "cpu"
        assert backends[name]["device"]["name"]
        assert len(backends[name]["precision_probe"]) == 6


def test_a_run_on_an_accelerator_hides_none_and_lets_jax_look_for_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    environment = switches.environment("flax", "gpu")
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "JAX_PLATFORMS" not in environment
    assert switches.environment("flax", "cpu")["JAX_PLATFORMS"] == "cpu"
    assert "NVIDIA_TF32_OVERRIDE" not in switches.environment("torch", "gpu", allow_tf32=True)


def test_every_switch_of_torch_takes():
    import torch

    adapter = frameworks.load("torch")
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for allowed, precision in ((True, "tf32"), (False, "ieee")):
            found = adapter.set_numerics_flags(allow_tf32=allowed)
            assert [value for key, value in found.items() if key.endswith("fp32_precision")] == [precision] * 5
            assert [value for key, value in found.items() if "reduced_precision" in key] == ["False"] * 2
    finally:
        torch.use_deterministic_algorithms(before)


def test_float64_is_left_out_where_a_device_has_none_and_the_reason_is_said(tmp_path):
    """JAX without its 64-bit mode computes float64 in float32, as a device without float64 would."""
    env = started_with("os.environ['JAX_ENABLE_X64'] = '0'", tmp_path)
    done = parity("run", "--case", "SE/1x1", "--framework", "flax,torch", env=env)
    assert done.returncode == 0, done.stdout
    assert "float64 left out in flax on cpu: computes as float32" in done.stdout
    assert "all the same: 1 case, 6 checks" in done.stdout
