"""Checkpoints as they lie on disks, made by the tools that make them: what each must give, or what it must say.

Each function writes one below a folder and gives its path. The model is one convolution, one norm and one linear layer.
"""

import argparse
import collections
import datetime
import gzip
import json
import pathlib
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen
import flax.serialization
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint
import paddle
import safetensors.torch
import torch
from flax import nnx
from flax.training.train_state import TrainState

import parity

SHAPES = {
    "conv.weight": (4, 3, 3, 2),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "norm.running_mean": (4,),
    "norm.running_var": (4,),
    "fc.weight": (5, 4),
    "fc.bias": (5,),
}
WEIGHTS = {key: np.random.default_rng(i).random(shape, np.float32) for i, (key, shape) in enumerate(SHAPES.items())}
AVERAGED = {key: array + 1 for key, array in WEIGHTS.items()}


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, (3, 2), bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x)).mean((2, 3)))


class Linen(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = flax.linen.Conv(4, (3, 2), use_bias=False, name="conv")(x)
        x = flax.linen.BatchNorm(use_running_average=True, name="norm")(x)
        return flax.linen.Dense(5, name="fc")(x.mean((1, 2)))


class Config(dict):
    """A configuration of a project's own, as many have."""


@dataclass(frozen=True)
class Checkpoint:
    """One file.

    Attributes:
        write: It makes the file.
        wrappers: What the weights lay in.
        skipped: Names of what is left out, some of them.
        refused: What the one line of error says, where it is not read.
        options: What `parity.load` is told.
        weights: What it must give.
    """

    write: Callable[[Path], Path]
    wrappers: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: str = ""
    options: dict[str, str] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=lambda: WEIGHTS)


def net(weights: dict[str, np.ndarray] = WEIGHTS) -> Net:
    model = Net()
    parity.set_weights(model, weights)
    return model


def state(head: str = "", weights: dict[str, np.ndarray] = WEIGHTS) -> dict[str, torch.Tensor]:
    return {head + key: tensor for key, tensor in net(weights).state_dict().items()}


def torch_saves(make: Callable[[], Any], name: str = "x.pth", **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(make(), folder / name, **options)
        return folder / name

    return write


def optimizer() -> dict[str, Any]:
    """A `state_dict` as torch.optim.AdamW's; to step one here would import all of torch.compile."""
    parameters = [tensor for key, tensor in state().items() if "running" not in key and "num" not in key]
    moments = {
        i: {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(tensor), "exp_avg_sq": torch.zeros_like(tensor)}
        for i, tensor in enumerate(parameters)
    }
    group = {
        "lr": 0.1,
        "betas": (0.9, 0.999),
        "foreach": None,
        "amsgrad": False,
        "params": list(range(len(parameters))),
    }
    return {"state": moments, "param_groups": [group]}


def script() -> dict[str, Any]:
    """A training script's checkpoint: everything that it had."""
    return {
        "model": state(),
        "optimizer": optimizer(),
        "lr_scheduler": {"milestones": collections.Counter([2, 4]), "gamma": 0.1, "last_epoch": 3},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("runs"), device=torch.device("cuda", 0)),
        "best": np.float64(0.75),
        "rng_state": torch.get_rng_state(),
        "numpy_rng": np.random.default_rng(0),
        "shape": torch.Size([1, 3, 32, 32]),
        "dtype": torch.float16,
        "history": collections.defaultdict(list, {"loss": [1.0, 0.5]}),
        "seen": {1, 2},
        "saved": datetime.datetime(2024, 5, 6, 7, 8),
        "by pair": {(1, 2): 0.5, None: 1, 0.5: 2},
        "config": Config(depth=50),
    }


def lightning() -> dict[str, Any]:
    return {
        "epoch": 9,
        "global_step": 100,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state("model."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer()],
        "hparams_name": "kwargs",
        "hyper_parameters": Config(lr=0.1, act=torch.nn.ReLU),
    }


def averaged() -> dict[str, torch.Tensor]:
    return torch.optim.swa_utils.AveragedModel(net()).state_dict()


def with_attributes() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {
        key: torch.nn.Parameter(tensor) for key, tensor in state().items() if "_t" not in key
    }
    for tensor in found.values():
        tensor.no_weight_decay = True
    plain = state()["conv.weight"]
    plain.note = "a tensor with an attribute"
    return {**found, "conv.weight": plain}


def byte_storages() -> dict[str, torch.Tensor]:
    return {**state(), "more": torch.ones(2, 2).to(torch.float8_e5m2)}


def legacy(make: Callable[[], Any], name: str = "x.pth.tar") -> Callable[[Path], Path]:
    return torch_saves(make, name, _use_new_zipfile_serialization=False)


def pickled(folder: Path) -> Path:
    """A checkpoint as detectron2 publishes it: a pickle of NumPy arrays."""
    path = folder / "x.pkl"
    path.write_bytes(pickle.dumps({"model": WEIGHTS, "__author__": "somebody", "matching_heuristics": True}, 5))
    return path


def pickled_tensors(folder: Path) -> Path:
    (folder / "x.pkl").write_bytes(pickle.dumps(state()))
    return folder / "x.pkl"


def scripted(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net().eval(), torch.ones(1, 3, 4, 4)), folder / "x.pt")
    return folder / "x.pt"


def exported(folder: Path) -> Path:
    torch.export.save(torch.export.export(net().eval(), (torch.ones(1, 3, 4, 4),)), folder / "x.pt2")
    return folder / "x.pt2"


def distributed(folder: Path) -> Path:
    """A checkpoint of torch.distributed.checkpoint."""
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(state(), checkpoint_id=folder / "x")
    return folder / "x"


def sharded(suffix: str) -> Callable[[Path], Path]:
    """A checkpoint as transformers saves it: two files and their index, of which the index is given."""

    def write(folder: Path) -> Path:
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        placed = {}
        items = list(state().items())
        for number, part in enumerate((items[:3], items[3:]), 1):
            name = f"{stem}-{number:05}-of-00002.{suffix}"
            placed.update(dict.fromkeys(dict(part), name))
            if suffix == "safetensors":
                safetensors.torch.save_file(dict(part), folder / name, metadata={"format": "pt"})
            else:
                torch.save(dict(part), folder / name)
        path = folder / f"{stem}.{suffix}.index.json"
        path.write_text(json.dumps({"metadata": {"total_size": 400}, "weight_map": placed}, indent=2))
        return path

    return write


def published(folder: Path) -> Path:
    """The directory that holds them, as it is downloaded."""
    (folder / "config.json").write_text("{}")
    return sharded("safetensors")(folder).parent


def half_downloaded(folder: Path) -> Path:
    path = sharded("safetensors")(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return path


def climbing(folder: Path) -> Path:
    path = folder / "x.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    return path


def text(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def paddle_net() -> paddle.nn.Layer:
    model = paddle.nn.Layer()
    model.conv = paddle.nn.Conv2D(3, 4, (3, 2), bias_attr=False)
    model.norm = paddle.nn.BatchNorm2D(4)
    model.fc = paddle.nn.Linear(4, 5)
    parity.set_weights(model, WEIGHTS)
    return model


def paddle_saves(make: Callable[[], Any], name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        paddle.save(make(), str(folder / name))
        return folder / name

    return write


def paddle_optimizer() -> dict[str, Any]:
    model = paddle_net()
    rate = paddle.optimizer.lr.StepDecay(0.1, 2)
    optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
    model.fc(paddle.ones([2, 4])).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def paddle_inference(folder: Path) -> Path:
    class Headed(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.fc = paddle.nn.Linear(4, 5)

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return self.fc(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paddle.jit.save(Headed(), str(folder / "x"), input_spec=[paddle.static.InputSpec([1, 4])])
    return folder / "x.pdiparams"


def linen() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    native = parity.convert(WEIGHTS, "torch", "flax")
    for key, array in native.items():
        layer, leaf = key.split(".")
        collection = "batch_stats" if leaf in ("mean", "var") else "params"
        tree.setdefault(collection, {}).setdefault(layer, {})[leaf] = jnp.asarray(np.array(array))
    return tree


def train_state() -> TrainState:
    class State(TrainState):
        batch_stats: Any

    variables = linen()
    model = Linen()
    return State.create(apply_fn=model.apply, tx=optax.adam(0.1), **variables)


def flax_saves(make: Callable[[], Any], name: str = "x.msgpack") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(flax.serialization.to_bytes(make()))
        return folder / name

    return write


def chunked(folder: Path) -> Path:
    """A file of arrays that Flax cut into pieces: here of 16 bytes instead of a gibibyte."""
    whole = flax.serialization.MAX_CHUNK_SIZE
    flax.serialization.MAX_CHUNK_SIZE = 16
    try:
        return flax_saves(linen)(folder)
    finally:
        flax.serialization.MAX_CHUNK_SIZE = whole


def orbax_saves(make: Callable[[], Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / "x", make())
        return folder / "x"

    return write


def managed(folder: Path, step: str = "3") -> Path:
    with orbax.checkpoint.CheckpointManager(folder / "x") as manager:
        manager.save(3, args=orbax.checkpoint.args.StandardSave(linen()))
        manager.wait_until_finished()
    return folder / "x" / step


def nnx_state() -> Any:
    class Model(nnx.Module):
        def __init__(self) -> None:
            self.conv = nnx.Conv(3, 4, (3, 2), use_bias=False, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
            self.fc = nnx.Linear(4, 5, rngs=nnx.Rngs(0))

    model = Model()
    parity.set_weights(model, WEIGHTS)
    return nnx.state(model)


def numpy_saves(**names: str) -> Callable[[Path], Path]:
    """The weights in Flax's axes, under names that these replace parts of."""

    def write(folder: Path) -> Path:
        arrays = {}
        for key, array in parity.convert(WEIGHTS, "torch", "flax").items():
            layer, leaf = key.split(".")
            arrays[names["form"].format(layer=layer, leaf=names.get(leaf, leaf))] = np.array(array)
        if "beside" in names:
            arrays[names["beside"]] = np.ones(3)
        np.savez(folder / "x.npz", **arrays)
        return folder / "x.npz"

    return write


def with_objects(folder: Path) -> Path:
    np.save(folder / "x.npy", {"weights": WEIGHTS}, allow_pickle=True)  # type: ignore[arg-type]
    return folder / "x.npy"


KERAS = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
WHOLE = "a whole model (checkpoints.Net), which only its own code can open"
RUN = "torch.load('x.pth', weights_only=False)"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
BESIDE = ("optimizer", "epoch", "args (argparse.Namespace)", "best (numpy.scalar)", "seen (builtins.set)")

CHECKPOINTS: dict[str, Checkpoint] = {
    "torch: a state_dict": Checkpoint(torch_saves(state)),
    "torch: of DataParallel": Checkpoint(torch_saves(lambda: state("module.")), ("module.",)),
    "torch: of torch.compile": Checkpoint(torch_saves(lambda: state("_orig_mod.")), ("_orig_mod.",)),
    "torch: of both": Checkpoint(torch_saves(lambda: state("module._orig_mod.")), ("_orig_mod.", "module.")),
    "torch: a compiled part": Checkpoint(
        torch_saves(lambda: {key.replace("fc.", "fc._orig_mod."): tensor for key, tensor in state().items()}),
        ("_orig_mod.",),
    ),
    "torch: of a pretraining's backbone": Checkpoint(torch_saves(lambda: state("model.backbone.")), ("model.", "backbone.")),
    "torch: an average (swa_utils)": Checkpoint(torch_saves(averaged), ("module.",), ("n_averaged",)),
    "torch: state_dict, epoch, optimizer": Checkpoint(
        torch_saves(lambda: {"epoch": 3, "state_dict": state("module."), "optimizer": optimizer()}),
        ("state_dict", "module."),
        ("epoch", "optimizer"),
    ),
    "torch: all that a script had": Checkpoint(torch_saves(script), ("model",), BESIDE),
    "torch: the same before 1.6": Checkpoint(legacy(script), ("model",), BESIDE),
    "torch: weights and their average": Checkpoint(
        torch_saves(lambda: {"state_dict": state(), "state_dict_ema": state(weights=AVERAGED), "arch": "net"}),
        ("state_dict",),
        ("state_dict_ema", "arch"),
    ),
    "torch: the average, chosen": Checkpoint(
        torch_saves(lambda: {"state_dict": state(), "state_dict_ema": state(weights=AVERAGED), "arch": "net"}),
        ("state_dict_ema",),
        ("state_dict", "arch"),
        options={"key": "state_dict_ema"},
        weights=AVERAGED,
    ),
    "torch: an average within (ema.module)": Checkpoint(
        torch_saves(lambda: {"ema": {"module": state(weights=AVERAGED), "updates": 7}, "date": "today"}),
        ("ema", "module"),
        ("date", "ema.updates"),
        weights=AVERAGED,
    ),
    "torch: a key that is not there": Checkpoint(
        torch_saves(lambda: {"state_dict": state(), "arch": "net"}),
        refused="there is no 'state_dict_ema'; there are state_dict, arch",
        options={"key": "state_dict_ema"},
    ),
    "torch: Lightning": Checkpoint(torch_saves(lightning, "x.ckpt"), ("state_dict", "model."), ("callbacks", "loops")),
    "torch: parameters with attributes": Checkpoint(torch_saves(with_attributes)),
    "torch: storages of bytes": Checkpoint(
        torch_saves(byte_storages), weights={**WEIGHTS, "more": np.ones((2, 2), ml_dtypes.float8_e5m2)}
    ),
    "torch: pytorch_model.bin": Checkpoint(torch_saves(state, "pytorch_model.bin")),
    "torch: without a suffix": Checkpoint(torch_saves(state, "x")),
    "torch: .pth.tar before 1.6": Checkpoint(legacy(lambda: {"state_dict": state()}), ("state_dict",)),
    "torch: a whole model": Checkpoint(torch_saves(net), refused=f"{WHOLE}; where that is and you trust the file: python"),
    "torch: a whole model in a dictionary": Checkpoint(
        torch_saves(lambda: {"epoch": 3, "model": net(), "ema": None}), refused=f"{RUN}['model'].state_dict()"
    ),
    "torch: a whole model before 1.6": Checkpoint(legacy(net, "x.pth"), refused=f"{RUN}.state_dict()"),
    "torch: an optimizer": Checkpoint(
        torch_saves(optimizer), refused="the state of a PyTorch optimizer, and no weights"
    ),
    "torch: nothing but an optimizer": Checkpoint(
        torch_saves(lambda: {"optimizer": optimizer(), "epoch": 1}),
        refused="holds no weights, only optimizer, epoch",
    ),
    "torch: TorchScript": Checkpoint(scripted, refused="torch.save(torch.jit.load('FILE').state_dict(), 'weights.pt')"),
    "torch: an exported program": Checkpoint(exported, refused="torch.save(torch.export.load('FILE').state_dict, 'wei"),
    "torch: distributed": Checkpoint(distributed, refused="dcp_to_torch DIRECTORY weights.pt"),
    "pickle: NumPy arrays": Checkpoint(pickled, ("model",), ("__author__",), options={"framework": "torch"}),
    "pickle: tensors": Checkpoint(pickled_tensors, refused="save them with torch.save"),
    "transformers: safetensors in shards": Checkpoint(sharded("safetensors")),
    "transformers: .bin in shards": Checkpoint(sharded("bin")),
    "transformers: the directory": Checkpoint(published),
    "transformers: a shard that is missing": Checkpoint(half_downloaded, refused="which is not beside it: download all"),
    "an index that climbs": Checkpoint(climbing, refused="must name files beside it, got '../../etc/passwd'"),
    "an answer of a server in JSON": Checkpoint(text("x.safetensors", b'{"error":"Entry not found"}'), refused="'Entry not"),
    "a Git LFS pointer": Checkpoint(text("x.safetensors", LFS), refused="is a Git LFS pointer"),
    "a web page": Checkpoint(text("x.pth", b"\n<!DOCTYPE html><html><head>"), refused="is a web page"),
    "HDF5": Checkpoint(text("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(64)), refused="numpy.savez('weights.npz'"),
    "gzip": Checkpoint(text("x.pth.gz", gzip.compress(b"weights")), refused="unpack it first"),
    "paddle: .pdparams": Checkpoint(paddle_saves(lambda: paddle_net().state_dict(), "x.pdparams")),
    "paddle: with epoch and optimizer": Checkpoint(
        paddle_saves(lambda: {"model": paddle_net().state_dict(), "opt": paddle_optimizer(), "epoch": 3}, "x.pdparams"),
        ("model",),
        ("opt", "epoch"),
    ),
    "paddle: .pdopt": Checkpoint(paddle_saves(paddle_optimizer, "x.pdopt"), refused="the state of a Paddle optimizer"),
    "paddle: .pdiparams": Checkpoint(paddle_inference, refused="paddle.save(paddle.jit.load('model').state_dict()"),
    "flax: Linen's variables": Checkpoint(flax_saves(linen)),
    "flax: a TrainState": Checkpoint(flax_saves(train_state), skipped=("opt_state", "step")),
    "flax: in pieces": Checkpoint(chunked),
    "flax: flax_model.msgpack": Checkpoint(
        flax_saves(lambda: {"bert": linen()["params"]}, "flax_model.msgpack"),
        options={"prefix": "bert"},
        weights={key: array for key, array in WEIGHTS.items() if "running" not in key},
    ),
    "orbax: Linen's variables": Checkpoint(orbax_saves(linen)),
    "orbax: a TrainState": Checkpoint(orbax_saves(train_state), skipped=("opt_state", "step")),
    "orbax: NNX": Checkpoint(orbax_saves(nnx_state)),
    "orbax: a manager's step": Checkpoint(managed),
    "orbax: a manager's directory": Checkpoint(lambda folder: managed(folder, "."), refused="give one of these"),
    "numpy: Keras' names": Checkpoint(numpy_saves(form="{layer}/{leaf}:0", **KERAS)),
    "numpy: big_vision's names": Checkpoint(numpy_saves(form="params/{layer}/{leaf}")),
    "numpy: vision_transformer's names": Checkpoint(
        numpy_saves(form="opt/target/{layer}/{leaf}", beside="opt/state/step"), ("opt.target",), ("opt.state",)
    ),
    "numpy: one array": Checkpoint(with_objects, refused="save numpy.savez('weights.npz', **{name: array})"),
}  # fmt: skip
