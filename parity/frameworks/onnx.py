"""ONNX Runtime: a module of torch_impl, exported and run; in eval mode and float32 alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from torch import nn

from . import torch as source
from .onnx_graph import to_onnx

NAME = "onnx"
THREADS = 1


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
    session = onnxruntime.InferenceSession(to_onnx(model, x.shape), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]
