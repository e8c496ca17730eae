"""The models of examples/ports: one command takes each to another framework and back, and it is the same function."""

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import torch
from flax import nnx
from flax.serialization import msgpack_restore
from typer.testing import CliRunner

from parity.cli.app import app
from parity.frameworks import flax
from parity.port.load import load_factory

PORTS = Path(__file__).parent.parent / "examples" / "ports"
LIMIT = 1e-12
FRAMEWORKS = {".pdparams": "paddle", ".msgpack": "flax"}


# For each model the shape of its input; the LSTM's are words.
MODELS = {
    "resnet18": (2, 3, 64, 64),
    "mobilenetv3": (2, 3, 64, 64),
    "unet": (2, 3, 32, 32),
    "vit": (2, 3, 16, 16),
    "convnext": (2, 3, 32, 32),
    "swin": (2, 3, 32, 32),
    "lstm": (2, 7),
}
WORDS = 50
# The commands as they are written for readers: the source, the target and the options.
COMMANDS = [
    line.split()[2:] for line in (PORTS / "README.md").read_text().splitlines() if line[:15] == "parity convert "
]


def build(name: str, framework: str) -> Any:
    """The model in float64; Flax's abstract, for what is initialised would be compiled first."""
    factory = load_factory(f"{PORTS / name}_{framework}.py:build")
    if framework == "torch":
        return factory().double()
    if framework == "flax":
        model = nnx.eval_shape(factory)
        flax.reset_counters(model)
        return model
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    try:
        return factory()
    finally:
        paddle.set_default_dtype(before)


def drawn(model: Any) -> dict[str, torch.Tensor]:
    """The model's own start, with all that starts as zeros or ones drawn; counters are not zero."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            tensor += 7
        elif tensor.is_floating_point() and (tensor == tensor.flatten()[0]).all():
            tensor += torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return state


def load(framework: str, model: Any, path: Path) -> None:
    """The file in the model, by the framework's own loader."""
    if framework == "torch":
        model.load_state_dict(torch.load(path), strict=True)
    elif framework == "paddle":
        missing, unexpected = model.set_state_dict(paddle.load(str(path)))
        assert not missing
        assert not unexpected
    else:
        tree = nnx.restore_int_paths(msgpack_restore(path.read_bytes()))
        assert keys(nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))) == keys(tree)
        nnx.update(model, tree)
    model.eval()


def keys(tree: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    if not isinstance(tree, dict):
        return {path}
    return {found for key, value in tree.items() for found in keys(value, (*path, key))}


def forward(framework: str, model: Any, x: np.ndarray) -> np.ndarray:
    """The output, maps with channels second."""
    if framework == "torch":
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()
    if framework == "paddle":
        with paddle.no_grad():
            return model(paddle.to_tensor(x)).numpy()
    y = np.asarray(nnx.jit(lambda model, x: model(x))(model, np.moveaxis(x, 1, -1) if x.ndim == 4 else x))
    return np.moveaxis(y, -1, 1) if y.ndim == 4 else y


def convert(*arguments: object) -> None:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_every_model_has_a_command_for_every_framework():
    assert sorted(target for _, target, *_ in COMMANDS) == sorted(
        f"{name}{suffix}" for name in MODELS for suffix in FRAMEWORKS
    )


@pytest.mark.parametrize(("source", "target", "options"), [(s, t, o) for s, t, *o in COMMANDS], ids=lambda each: each)
def test_one_command_takes_a_model_there_and_one_back(source, target, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rules in PORTS.glob("*.toml"):
        (tmp_path / rules.name).symlink_to(rules)
    name, framework = Path(source).stem, FRAMEWORKS[Path(target).suffix]
    original = build(name, "torch")
    state = drawn(original)
    torch.save(state, source)
    convert(source, target, *options)
    convert(target, "back.pth", *options)

    rng = np.random.default_rng(0)
    x = rng.integers(0, WORDS, MODELS[name]) if name == "lstm" else rng.standard_normal(MODELS[name])
    load("torch", original, tmp_path / source)
    expected = forward("torch", original, x)
    port = build(name, framework)
    load(framework, port, tmp_path / target)
    assert np.abs(forward(framework, port, x) - expected).max() <= LIMIT * np.abs(expected).max()

    returned = torch.load("back.pth")
    assert returned.keys() == state.keys()
    for key, tensor in summed(state).items() if (name, framework) == ("lstm", "flax") else state.items():
        assert returned[key].dtype == tensor.dtype
        assert torch.equal(returned[key], tensor), key


def summed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of an LSTM as it comes back from Flax, which has one bias: the sum, and zero."""
    both = {key: (key.replace("_ih", "_hh"), tensor) for key, tensor in state.items() if "bias_ih" in key}
    sums = {key: tensor + state[other] for key, (other, tensor) in both.items()}
    return {**state, **sums, **{other: torch.zeros_like(tensor) for other, tensor in both.values()}}
