"""No file costs more than 64 MiB and 20 times its size, or more than 2 s and 0.1 s a MiB, whatever is in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hurtful import ALL, DECOMPRESSED, write_hurtful

import parity
from parity.weights import files
from parity.weights.files import budget, limits
from parity.weights.files.budget import Budget

FILES = [(".safetensors", "torch"), (".npz", "torch"), (".pt", "torch"), (".pdparams", "paddle"), (".msgpack", "flax")]
HERE = Path(__file__).parent
MIB = 1 << 20
SECONDS, SECONDS_PER_MIB = 2.0, 0.1  # of the processor
# What TensorStore's process may have more: 24 MiB for its threads, and imports that the measuring process lacks.
CHILD = 56 * MIB


def measured(*paths: Path) -> list[dict[str, object]]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "measure_cost.py"), *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=400)
    return [json.loads(line) for line in done.stdout.splitlines()]


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("hurtful")
    paths = {}
    for i, name in enumerate(ALL):
        (folder / f"{i:03}").mkdir()
        paths[str(write_hurtful(name, folder / f"{i:03}"))] = name
    found: dict[str, list[dict[str, object]]] = {name: [] for name in ALL}
    for each in measured(*map(Path, paths)):
        found[paths[str(each["file"])]].append({**each, "size": size(Path(str(each["file"])))})
    return found


@pytest.mark.parametrize("name", ALL)
def test_cost(name: str, costs: dict[str, list[dict[str, object]]]) -> None:
    assert costs[name]
    for each in costs[name]:
        assert each["error"] in (None, "ParityError"), each
        most = 64 * MIB + 20 * each["size"]
        assert each["bytes"] <= most, each
        assert each["child"] <= CHILD + most, each
        assert in_time(each, SECONDS + SECONDS_PER_MIB * each["size"] / MIB), each
        assert len(each["message"]) <= 292
        assert each["message"].isprintable()


@pytest.mark.parametrize("name", DECOMPRESSED)
def test_the_system_stops_what_tensorstore_decompresses(name: str, costs: dict[str, list[dict[str, object]]]) -> None:
    assert "SIGABRT: it would take far more memory than its" in str(costs[name][0]["message"])


def in_time(cost: dict[str, object], most: float) -> bool:
    """Whether it takes no more seconds, or takes no more again: a processor's seconds are longer where others use it."""
    for _ in range(6):
        if cost["seconds"] <= most:
            return True
        cost = next(each for each in measured(Path(str(cost["file"]))) if each["action"] == cost["action"])
    return False


# What is written is read: the limits of the readers follow from the file.
@pytest.mark.parametrize(
    ("suffix", "count"),
    [(".safetensors", 20_000), (".msgpack", 20_000), (".pt", 4_000), (".pdparams", 20_000), (".npz", 4_000)],
)
def test_many_tensors(suffix: str, count: int, tmp_path: Path) -> None:
    weights = {f"layers.{i}.bias": np.full(2, i, np.float32) for i in range(count)}
    framework = {".pdparams": "paddle", ".msgpack": "flax"}.get(suffix, "torch")
    parity.save(
        weights,
        tmp_path / f"x{suffix}",
        framework=framework,
        metadata={"note": "é" * 3_000_000} if suffix != ".npz" else {},
    )
    checkpoint = parity.load(tmp_path / f"x{suffix}")
    assert checkpoint.weights.keys() == weights.keys()
    assert np.array_equal(checkpoint.weights[f"layers.{count - 1}.bias"], weights[f"layers.{count - 1}.bias"])


# Every format costs a step and a byte for each tensor what it costs for one, so that few tell of a hundred thousand.
@pytest.mark.parametrize(("suffix", "framework"), FILES)
def test_a_hundred_thousand_of_one_value_are_within_the_budget(
    suffix: str, framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, count = tmp_path / f"x{suffix}", 2_000
    parity.save({f"layers.{10_000 + i}.bias": np.float32(i) for i in range(count)}, path, framework=framework)
    spent: list[Budget] = []
    created = Budget.__init__
    monkeypatch.setattr(Budget, "__init__", lambda self, stored: spent.append(self) or created(self, stored))
    parity.load(path)
    (left,) = spent
    whole = Budget(path.stat().st_size)
    per_tensor = (whole.steps - left.steps) / count, (whole.memory - left.memory) / count
    allowed = Budget(path.stat().st_size * limits.MAX_TENSORS // count)
    assert per_tensor[0] * limits.MAX_TENSORS <= allowed.steps
    assert per_tensor[1] * limits.MAX_TENSORS <= allowed.memory + allowed.objects


@pytest.mark.parametrize(("suffix", "framework"), [*FILES, (".orbax", "flax")])
def test_what_is_written_is_read_and_one_more_is_not_written(
    suffix: str, framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_TENSORS", 20)
    weights = {f"layers.{i}.bias": np.ones(1, np.float32) for i in range(20)}
    parity.save(weights, tmp_path / f"x{suffix}", framework=framework)
    assert parity.load(tmp_path / f"x{suffix}").weights.keys() == weights.keys()
    weights["more.bias"] = np.ones(1, np.float32)
    with pytest.raises(parity.ParityError, match="a file can have at most 20 tensors, got 21: several can have more"):
        parity.save(weights, tmp_path / f"y{suffix}", framework=framework)
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]
    parity.save(weights, tmp_path / "shards", framework=framework, shard="1GB")
    assert parity.load(tmp_path / "shards").weights.keys() == weights.keys()


def test_what_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MANY", 10)
    monkeypatch.setattr(budget, "STEPS", 0)
    weights = {f"{i}.bias": np.float32(i) for i in range(2000)}
    with pytest.raises(parity.ParityError, match=r"too small for a \.pdparams to be read again; write a \.safetensors"):
        parity.save(weights, tmp_path / "x.pdparams")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".msgpack"])
def test_half_a_character_is_not_written(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(parity.ParityError, match="has half of a character"):
        parity.save({"a.bias": np.zeros(1, np.float32)}, tmp_path / f"x{suffix}", metadata={"a": "b\ud800"})
    assert not list(tmp_path.iterdir())
