"""ONNX Runtime's devices: the processor, where its graphs are run; there is no backward pass."""

from collections.abc import Mapping

import numpy as np
import onnxruntime
from onnx import helper

LIBRARIES: Mapping[str, tuple[str, str]] = {"cpu": ("onnxruntime.Conv", "onnxruntime.MatMul")}
PROVIDER = "CPUExecutionProvider"


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
