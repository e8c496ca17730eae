"""The gradients of sum(output * cotangent) in each framework, by canonical key."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import torch
from flax import nnx

from parity.frameworks.layout import convert, relayout


def torch_gradients(model: Any, x: np.ndarray, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    leaves = dict(model.named_parameters()) | {"input": torch.from_numpy(x.copy()).requires_grad_()}
    found = torch.autograd.grad(model(leaves["input"]), list(leaves.values()), torch.from_numpy(cotangent.copy()))
    return {key: gradient.numpy() for key, gradient in zip(leaves, found, strict=True)}


def paddle_gradients(model: Any, x: np.ndarray, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    leaves = {key: tensor for key, tensor in model.named_parameters() if not tensor.stop_gradient}
    given = paddle.to_tensor(x, stop_gradient=False)
    found = paddle.grad(model(given), [given, *leaves.values()], paddle.to_tensor(cotangent))
    native = {key: gradient.numpy() for key, gradient in zip(leaves, found[1:], strict=True)}
    return convert(native, "paddle", "torch") | {"input": found[0].numpy()}


def flax_gradients(model: Any, x: np.ndarray, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    last = jnp.asarray(relayout(cotangent, "nchw", "nhwc") if cotangent.ndim == 4 else cotangent)
    _, pull = jax.vjp(
        lambda parameters, x: nnx.merge(graph, parameters, rest, copy=True)(x),
        parameters,
        jnp.asarray(relayout(x, "nchw", "nhwc")),
    )
    found, found_input = pull(last)
    native = {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(found)}
    return convert(native, "flax", "torch") | {"input": relayout(np.asarray(found_input), "nhwc", "nchw")}


GRADIENTS = {"torch": torch_gradients, "paddle": paddle_gradients, "flax": flax_gradients}
