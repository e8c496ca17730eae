"""ONNX Runtime: a module of torch_impl, exported and run; on processors, in eval mode and float32 alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper
from torch import nn

from . import torch as source
from .adapter import Trainer
from .onnx_graph import to_onnx

NAME = "onnx"
THREADS = 1
LIBRARIES: Mapping[str, tuple[str, str]] = {"cpu": ("onnxruntime.Conv", "onnxruntime.MatMul")}
PROVIDER = "CPUExecutionProvider"
# The model is PyTorch's.
assign, layers, to_numpy, variables = source.assign, source.layers, source.to_numpy, source.variables
reset_counters = source.reset_counters


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"onnxruntime": onnxruntime.__version__, **source.versions()}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """A new module of torch_impl; the weights set in it are those that `forward` exports."""
    return source.build(module, args, kwargs)


def release() -> None:
    """Nothing: a finished case holds no memory."""


def forward(model: nn.Module, x: np.ndarray, *, train: bool, execution: str = "eager") -> np.ndarray:
    """The exported model's output for `x` (n, c, h, w).

    Raises:
        ValueError: in train mode, which an ONNX graph does not have.
    """
    if train:
        raise ValueError("an ONNX graph has no train mode")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(to_onnx(model, x.shape), options, providers=[PROVIDER])
    return session.run(None, {"x": x})[0]


def gradients(
    model: nn.Module, x: np.ndarray, cotangent: np.ndarray, *, train: bool, execution: str = "eager"
) -> dict[str, np.ndarray]:
    """Nothing that there is; raise ValueError."""
    raise ValueError("an ONNX graph has no backward pass")


def trainer(model: nn.Module, method: str, loss: str, options: Mapping[str, float]) -> Trainer:
    """Nothing that there is; raise ValueError."""
    raise ValueError("an ONNX graph has no backward pass")


def available() -> list[str]:
    """The devices that the exported graphs can run on."""
    return ["cpu"]


def select(device: str) -> None:
    """Nothing: there is one."""


def describe(device: str) -> dict[str, str | int]:
    """Nothing besides what the processor's name says."""
    return {}


def set_numerics_flags(*, allow_tf32: bool) -> dict[str, str]:
    """Nothing to switch; what runs the graphs."""
    return {"provider": PROVIDER}


def convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """A 3x3 convolution (nchw, oihw) that keeps the size, alone."""
    return [_compute("Conv", x, w, pads=[1, 1, 1, 1])]


def multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """The product a @ b, alone."""
    return [_compute("MatMul", a, b)]


def _compute(operation: str, a: np.ndarray, b: np.ndarray, **attributes: list[int]) -> np.ndarray:
    """The result of one operation of two arrays of the same dtype, as a graph of its own."""
    kind = helper.np_dtype_to_tensor_dtype(a.dtype)
    values = [helper.make_tensor_value_info(name, kind, None) for name in "aby"]
    node = helper.make_node(operation, ["a", "b"], ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph([node], operation, values[:2], values[2:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[PROVIDER])
    return session.run(None, {"a": a, "b": b})[0]
