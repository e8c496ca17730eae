"""Nothing is lost between formats and frameworks, and the frameworks' own functions read and write the same files."""

from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import paddle
import pytest
import safetensors.numpy
import torch
from flax import nnx, serialization
from hard import FLOATS, SHAPES, assert_same, hard, hard_weights
from loaders import LOAD, build
from orbax import checkpoint
from typer.testing import CliRunner

import parity
from parity.cli.app import app
from parity.frameworks.layout import COUNTER
from parity.weights.files import FORMATS, contents

KINDS = [(format_.suffixes[0], framework) for format_ in FORMATS for framework in format_.frameworks]
KIND_IDS = [f"{suffix[1:]}-{framework}" for suffix, framework in KINDS]
METADATA = {"trained on": "ImageNet", "naïve": "ü\n", COUNTER: f'{{"pool.norm.{COUNTER}": 7}}'}
# What has a batch norm and no two-dimensional weight tells its framework by itself.
MODULES = [
    ("SE", (8,), {"reduction": 2}),
    ("CBAM", (8,), {"norm": True}),
    ("ASPP", (4, 3), {"rates": (1, 2), "bias": True}),
    ("SE_ASPP", (4, 4), {"rates": (1, 2)}),
]
OWN_FILES = [("torch", ".pth"), ("torch", ".safetensors"), ("paddle", ".pdparams"), ("paddle", ".safetensors")]
OWN_FILES += [("flax", ".msgpack"), ("flax", ".safetensors"), ("flax", ".orbax")]


@pytest.mark.parametrize(("suffix", "framework"), KINDS, ids=KIND_IDS)
def test_there_and_back(suffix: str, framework: str, tmp_path: Path) -> None:
    """From this kind of file to every other and back, by the command, all bits and the metadata kept."""
    weights = {f"{name}.{key}": a for name, dtype in FLOATS.items() for key, a in hard_weights(dtype).items()}
    metadata = {**METADATA, COUNTER: f'{{"float16.pool.norm.{COUNTER}": 7}}'}
    first = tmp_path / f"first{suffix}"
    parity.save(weights, first, framework=framework, metadata=metadata)
    for i, (other_suffix, other) in enumerate(KINDS):
        there, back = tmp_path / f"{i}{other_suffix}", tmp_path / f"back-{i}{suffix}"
        convert(first, there, other)
        convert(there, back, framework)
        found = parity.load(back)
        assert found.framework == framework
        assert_same(found.weights, weights)
        assert found.metadata == metadata


def convert(source: Path, target: Path, framework: str) -> None:
    result = CliRunner().invoke(app, ["convert", str(source), str(target), "--to", framework], catch_exceptions=False)
    assert result.exit_code == 0


@pytest.mark.parametrize(("framework", "suffix"), OWN_FILES, ids=lambda value: value.removeprefix("."))
@pytest.mark.parametrize(("module", "args", "kwargs"), MODULES, ids=lambda value: value if type(value) is str else "")
def test_own_loader_takes_what_is_written(framework, suffix, module, args, kwargs, tmp_path: Path) -> None:
    weights = parity.get_weights(build("torch", module, *args, **kwargs))
    weights = {key: hard(array.shape, np.dtype(np.float64), i) for i, (key, array) in enumerate(weights.items())}
    parity.save(weights, tmp_path / f"x{suffix}", framework=framework, metadata=METADATA)
    model = build(framework, module, *args, **kwargs)
    LOAD[framework](tmp_path / f"x{suffix}", model)
    assert_same(parity.get_weights(model), weights)


def test_npz_is_numpys(tmp_path: Path) -> None:
    weights = hard_weights(np.dtype(np.float32))
    parity.save(weights, tmp_path / "x.npz", metadata={"a": "b"})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert_same(dict(file), weights)
    np.savez_compressed(tmp_path / "y.npz", **{key: np.asfortranarray(array) for key, array in weights.items()})
    assert_same(parity.load(tmp_path / "y.npz", framework="torch").weights, weights)
    big = {key: array.astype(">f4") for key, array in weights.items()}
    np.savez(tmp_path / "z.npz", **big)
    assert_same(parity.load(tmp_path / "z.npz", framework="torch").weights, weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_what_torch_saves(legacy: bool, tmp_path: Path) -> None:
    state = {key: tensor(array) for key, array in hard_weights(np.dtype(ml_dtypes.bfloat16)).items()}
    kernel = state["branches.0.conv.weight"]
    state["pool.conv.weight"] = torch.nn.Parameter(kernel.float().to(memory_format=torch.channels_last))
    state["branches.2.conv.weight"] = kernel[:, 1:, :, ::2]  # a window of a storage that another tensor has too
    torch.save(
        {"epoch": 3, "state_dict": state, "optimizer": {"param_groups": [{"lr": 0.1}]}},
        tmp_path / "x.pt",
        _use_new_zipfile_serialization=not legacy,
    )
    found = parity.load(tmp_path / "x.pt")
    assert found.skipped == ("epoch", "optimizer")
    expected = {key: parity.frameworks.load("torch").to_numpy(value) for key, value in state.items()}
    assert_same(found.weights, {key: np.array(array, order="C") for key, array in expected.items()})


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)


def test_reads_what_paddle_saves(tmp_path: Path) -> None:
    model = build("paddle", "ASPP", 4, 3, rates=(1, 2))
    model.to(dtype="bfloat16")
    expected = parity.get_weights(model)
    paddle.save(model.state_dict(), str(tmp_path / "x.pdparams"))
    assert_same(parity.load(tmp_path / "x.pdparams").weights, expected)
    paddle.save({"epoch": 3, "model": model.state_dict()}, str(tmp_path / "y.pdparams"))
    nested = parity.load(tmp_path / "y.pdparams")
    assert_same(nested.weights, expected)
    assert nested.skipped == ("epoch",)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_every_protocol_of_paddle(protocol: int, tmp_path: Path) -> None:
    weights = hard_weights(np.dtype(np.float32))
    native = parity.convert(weights, "torch", "paddle")
    state = {key: paddle.to_tensor(np.array(array, order="C")) for key, array in native.items()}
    paddle.save(state, str(tmp_path / "x.pdparams"), protocol)
    assert_same(parity.load(tmp_path / "x.pdparams").weights, weights)


def test_reads_what_flax_saves(tmp_path: Path) -> None:
    model = build("flax", "SE_ASPP", 4, 4, rates=(1, 2))
    expected = parity.get_weights(model)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    pure = nnx.to_pure_dict(state)
    (tmp_path / "x.msgpack").write_bytes(serialization.to_bytes(pure))
    assert_same(parity.load(tmp_path / "x.msgpack").weights, expected)
    for name, tree in (("state", state), ("pure", pure)):
        with checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / name, tree, custom_metadata={"a": "b"})
        found = parity.load(tmp_path / name)
        assert_same(found.weights, expected)
        assert found.metadata == {"a": "b"}


@pytest.mark.parametrize(("module", "args", "kwargs"), MODULES, ids=lambda value: value if type(value) is str else "")
@pytest.mark.parametrize("suffix", [".msgpack", ".orbax", ".safetensors", ".npz"])
def test_linen_trees(module, args, kwargs, suffix: str, tmp_path: Path) -> None:
    """`nnx.bridge.to_linen` of the module takes what is written, and what it saves is read."""
    weights = parity.get_weights(build("torch", module, *args, **kwargs))
    weights = {key: hard(array.shape, np.dtype(np.float32), i) for i, (key, array) in enumerate(weights.items())}
    parity.save(weights, tmp_path / f"x{suffix}", framework="linen", metadata=METADATA)
    linen = nnx.bridge.to_linen(getattr(parity.frameworks.load("flax").flax_impl, module), *args, **kwargs)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = linen.init(rngs, np.zeros((2, 5, 6, args[0]), np.float32))
    written = parity.load(tmp_path / f"x{suffix}")
    assert written.framework == "linen"
    assert_same(written.weights, weights)
    flat = parity.weights.files.read(tmp_path / f"x{suffix}").arrays
    own = {".".join(map(str, path)): leaf for path, leaf in flatten(variables)}
    assert {key: array.shape for key, array in flat.items()} == {key: array.shape for key, array in own.items()}
    (tmp_path / "own.msgpack").write_bytes(serialization.to_bytes(variables))
    read_back = parity.load(tmp_path / "own.msgpack")
    assert read_back.framework == "linen"
    assert {key: a.shape for key, a in read_back.weights.items()} == {key: a.shape for key, a in weights.items()}


def flatten(tree, path=()):
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from flatten(value, (*path, key))
        else:
            yield (*path, key), value


def test_linen_applies_what_is_written(tmp_path: Path) -> None:
    weights = parity.get_weights(build("torch", "CBAM", 8, norm=True))
    weights = {key: array.astype(np.float64) for key, array in weights.items()}
    parity.save(weights, tmp_path / "x.msgpack", framework="linen", metadata=METADATA)
    variables = serialization.msgpack_restore((tmp_path / "x.msgpack").read_bytes())
    model = build("flax", "CBAM", 8, norm=True)
    parity.set_weights(model, weights)
    model.eval()
    linen = nnx.bridge.to_linen(type(model), 8, norm=True)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 8))
    # The metadata is a branch without leaves, so jit takes the whole file.
    y = jax.jit(lambda variables, x: linen.apply(variables, x, mutable=["batch_stats"])[0])(variables, x)
    assert y.shape == x.shape


def test_batch_counters_go_around(tmp_path: Path) -> None:
    model = build("torch", "ASPP", 4, 3, rates=(1, 2))
    for i, (_, buffer) in enumerate(item for item in model.named_buffers() if item[0].endswith(COUNTER)):
        buffer.fill_(i + 5)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    path = tmp_path / "x.pth"
    for suffix, framework in KINDS:
        target = tmp_path / f"{framework}{suffix}"
        convert(path, target, framework)
        path = target
    convert(path, tmp_path / "y.pth", "torch")
    again = build("torch", "ASPP", 4, 3, rates=(1, 2))
    LOAD["torch"](tmp_path / "y.pth", again)
    for (key, value), (other_key, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert key == other_key
        assert torch.equal(value, other)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "bool"])
@pytest.mark.parametrize(("suffix", "framework"), KINDS, ids=KIND_IDS)
def test_integer_buffers(suffix: str, framework: str, dtype: str, tmp_path: Path) -> None:
    weights = {"conv.weight": np.arange(24).reshape(2, 3, 4, 1).astype(dtype), "norm.bias": np.ones(3, dtype)}
    parity.save(weights, tmp_path / f"x{suffix}", framework=framework)
    assert_same(parity.load(tmp_path / f"x{suffix}").weights, weights)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_casts_and_refuses_to_overflow(dtype: str, tmp_path: Path) -> None:
    array = np.array([1.5, -0.0, np.inf, np.nan, 1e-3], np.float64)
    counts = np.arange(5)
    parity.save({"norm.running_mean": array, "norm.bias": counts}, tmp_path / "x.npz")
    arguments = ["convert", str(tmp_path / "x.npz"), str(tmp_path / "y.safetensors"), "--dtype", dtype]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    found = parity.load(tmp_path / "y.safetensors").weights
    assert_same(found, {"norm.running_mean": array.astype(found["norm.running_mean"].dtype), "norm.bias": counts})
    assert found["norm.running_mean"].dtype.name == dtype
    parity.save({"norm.running_mean": np.array([1.0, 1e39])}, tmp_path / "big.npz")
    arguments[1:3] = str(tmp_path / "big.npz"), str(tmp_path / "z.safetensors")
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code == 0) == (dtype == "float64")
    assert (tmp_path / "z.safetensors").exists() == (result.exit_code == 0)


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    weights = hard_weights(np.dtype(np.float32))
    weights["empty.weight"] = np.zeros((0, 3, 1, 1), np.float32)
    for suffix, framework in KINDS:
        if suffix == ".orbax":  # has the time in it, and no arrays without values
            with pytest.raises(parity.ParityError, match="no array without values"):
                parity.save(weights, tmp_path / "a.orbax", framework=framework)
            assert not (tmp_path / "a.orbax").exists()
        else:
            parity.save(weights, tmp_path / f"a{suffix}", framework=framework, force=True)
            parity.save(weights, tmp_path / f"b{suffix}", framework=framework, force=True)
            assert_same(parity.load(tmp_path / f"a{suffix}").weights, weights)
            assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_arrays_of_unknown_layers_move_within_a_framework(tmp_path: Path) -> None:
    weights = {"rnn.weight_hr_l0": np.arange(3), "conv.weight": np.zeros((2, 3, 1, 1), np.float32)}
    safetensors.numpy.save_file(weights, tmp_path / "x.safetensors", {"format": "pt"})
    convert(tmp_path / "x.safetensors", tmp_path / "y.pt", "torch")
    assert_same({key: value.numpy() for key, value in torch.load(tmp_path / "y.pt").items()}, weights)
    with pytest.raises(parity.ParityError, match=r"no layout is known.*weight_hr_l0"):
        convert(tmp_path / "x.safetensors", tmp_path / "y.msgpack", "flax")


def test_the_framework_is_told_or_asked_for(tmp_path: Path) -> None:
    linear, norm = {"fc.weight": np.zeros((2, 3), np.float32)}, np.zeros(3, np.float32)
    np.savez(tmp_path / "x.npz", **linear)
    with pytest.raises(parity.ParityError, match=r"cannot tell the framework.*--from"):
        parity.load(tmp_path / "x.npz")
    with pytest.raises(parity.ParityError, match=r"fc is of the kind linear or embedding: .*--layer 'fc=embedding'"):
        parity.load(tmp_path / "x.npz", framework="paddle")
    for kind, shape in (("linear", (3, 2)), ("embedding", (2, 3))):
        found = parity.load(tmp_path / "x.npz", framework="paddle", layers={"f*": kind})
        assert found.weights["fc.weight"].shape == shape
    for leaf, framework in (("running_mean", "torch"), ("_mean", "paddle"), ("scale", "flax")):
        name = "kernel" if framework == "flax" else "weight"
        bias = {"fc.bias": norm[: 2 if framework == "torch" else 3]}
        np.savez(tmp_path / "x.npz", **bias, **{f"fc.{name}": linear["fc.weight"], f"norm.{leaf}": norm})
        assert parity.load(tmp_path / "x.npz").framework == framework
    np.savez(tmp_path / "x.npz", **{"a._mean": norm, "a.running_mean": norm})
    with pytest.raises(parity.ParityError, match="its names are of torch and paddle"):
        parity.load(tmp_path / "x.npz")


def test_formats_are_told_from_the_content(tmp_path: Path) -> None:
    weights = hard_weights(np.dtype(np.float32))
    for suffix, framework in KINDS:
        parity.save(weights, tmp_path / f"x{suffix}", framework=framework, force=True)
        if suffix != ".orbax":
            (tmp_path / f"x{suffix}").rename(tmp_path / "x.bin")
            assert_same(parity.load(tmp_path / "x.bin").weights, weights)
    (tmp_path / "y.zip").write_bytes(b"hello, world")
    with pytest.raises(parity.ParityError, match="is of no format known"):
        parity.load(tmp_path / "y.zip")
    with pytest.raises(parity.ParityError, match="must end in one of"):
        parity.save(weights, tmp_path / "x.h5")
    with pytest.raises(parity.ParityError, match="holds torch weights"):
        parity.save(weights, tmp_path / "y.pt", framework="paddle")
    assert set(SHAPES) == set(weights)


@pytest.mark.parametrize("slab", [8, 64, 1000, 1 << 20])
def test_slabs_are_the_array_in_order(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SLAB", slab)
    array = hard((5, 40, 3, 37), np.dtype(np.float32))
    for view in (
        array,
        array.transpose(2, 3, 1, 0),
        array[:, ::-1],
        array[:, :, 0, 0].T,
        array[0, 0, 0],
        array[0, 0, 0, 0],
    ):
        pieces = list(contents.slabs(np.asarray(view)))
        assert b"".join(piece.tobytes() for piece in pieces) == view.tobytes()
        assert all(piece.flags.c_contiguous and piece.nbytes <= max(slab, 8) for piece in pieces)
