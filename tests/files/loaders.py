"""Each framework's own way to put a file into a model, and its own way to write one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import safetensors.flax
import safetensors.paddle
import safetensors.torch
import torch
from flax import nnx, serialization, traverse_util
from orbax import checkpoint

import flax_impl
import paddle_impl
import torch_impl


def load_torch(path: Path, model: torch.nn.Module) -> None:
    state = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    model.load_state_dict(state, strict=True)


def load_paddle(path: Path, model: paddle.nn.Layer) -> None:
    state = safetensors.paddle.load_file(path) if path.suffix == ".safetensors" else paddle.load(str(path))
    missing, unexpected = model.set_state_dict(state)
    assert not missing
    assert not unexpected


def load_flax(path: Path, model: nnx.Module) -> None:
    if path.suffix == ".safetensors":
        tree = traverse_util.unflatten_dict(safetensors.flax.load_file(path), sep=".")
    elif path.suffix == ".msgpack":
        tree = serialization.msgpack_restore(path.read_bytes())
    else:
        tree = checkpoint.StandardCheckpointer().restore(path)
    nnx.update(model, nnx.restore_int_paths(jax.tree.map(jnp.asarray, tree)))


LOAD: dict[str, Callable[[Path, Any], None]] = {"torch": load_torch, "paddle": load_paddle, "flax": load_flax}


def build(framework: str, module: str, *args: Any, **kwargs: Any) -> Any:
    """A model in float64."""
    if framework == "torch":
        return getattr(torch_impl, module)(*args, **kwargs).double()
    if framework == "paddle":
        model = getattr(paddle_impl, module)(*args, **kwargs)
        model.to(dtype="float64")
        return model
    return getattr(flax_impl, module)(*args, **kwargs, rngs=nnx.Rngs(0))


def call(framework: str, model: Any, x: np.ndarray, *, train: bool, scale: bool) -> np.ndarray:
    """The model's output, or its attention map, for a map in the order n, c, h, w."""
    model.train() if train else model.eval()
    function = model.scale if scale else model
    if framework == "torch":
        return function(torch.from_numpy(x)).detach().numpy()
    if framework == "paddle":
        return function(paddle.to_tensor(x)).numpy()
    return np.asarray(function(jnp.asarray(x.transpose(0, 2, 3, 1)))).transpose(0, 3, 1, 2)


def save_state(framework: str, state: dict[str, np.ndarray], path: Path) -> None:
    """Write the arrays as that framework's users do: `torch.save` or `paddle.save`."""
    if framework == "torch":
        torch.save({key: torch.from_numpy(array.copy()) for key, array in state.items()}, path)
    else:
        paddle.save({key: paddle.to_tensor(array) for key, array in state.items()}, str(path))
