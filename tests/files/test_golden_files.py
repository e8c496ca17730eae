"""Other people's checkpoints: each golden system's weights, from its own file into all three frameworks."""

from pathlib import Path

import numpy as np
import pytest
from golden_vectors import GOLDEN, Golden, read
from loaders import LOAD, build, call, save_state
from typer.testing import CliRunner

from parity.cli.app import app

SUFFIX = {"torch": ".pth", "paddle": ".pdparams"}
TARGET = {"torch": "model.pth", "paddle": "model.pdparams", "flax": "model.msgpack"}


@pytest.mark.parametrize("target", TARGET)
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.file)
def test_converts_and_reproduces(golden: Golden, target: str, tmp_path: Path) -> None:
    tensors, framework = read(golden)
    state = {key.removeprefix("state/"): array for key, array in tensors.items() if key.startswith("state/")}
    source, converted = tmp_path / f"theirs{SUFFIX[framework]}", tmp_path / TARGET[target]
    save_state(framework, state, source)
    result = CliRunner().invoke(app, ["convert", str(source), str(converted)], catch_exceptions=False)
    assert result.exit_code == 0
    model = build(target, golden.module, *golden.args, **golden.kwargs)
    LOAD[target](converted, model)
    for mode in ("eval", "train"):
        output = call(target, model, tensors["input"], train=mode == "train", scale=golden.scale)
        expected = tensors[f"{mode}/output"]
        assert np.max(np.abs(output - expected)) <= golden.quirk * np.max(np.abs(expected)), mode
