"""Paddle's devices: CUDA and ROCm (both call themselves gpu) and Kunlun's XPU."""

from collections.abc import Mapping

import numpy as np
import paddle
import paddle.nn.functional as F

from .. import paddle as framework

# What computes convolutions and matrix products.
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "cuda": ("cudnn.conv", "cublas.matmul"),
    "rocm": ("miopen.conv", "rocblas.matmul"),
}


def available() -> list[str]:
    """The devices that Paddle sees."""
    gpus: list[str] = []
    if paddle.is_compiled_with_rocm():
        gpus = [f"rocm:{i}" for i in range(paddle.device.cuda.device_count())]
    elif paddle.is_compiled_with_cuda():
        gpus = [f"cuda:{i}" for i in range(paddle.device.cuda.device_count())]
    elif paddle.is_compiled_with_xpu():
        gpus = [f"xpu:{i}" for i in range(paddle.device.xpu.device_count())]
    return [*gpus, "cpu"]


def select(device: str) -> None:
    """Put models and inputs on `device` from now on."""
    paddle.set_device(device.replace("rocm", "gpu").replace("cuda", "gpu"))


def describe(device: str) -> dict[str, str | int]:
    """The device's name, driver and memory in bytes, as far as Paddle tells."""
    kind, _, index = device.partition(":")
    if kind not in ("cuda", "rocm"):
        return {}
    properties = paddle.device.cuda.get_device_properties(int(index))
    return {
        "name": properties.name,
        "runtime": f"CUDA {paddle.version.cuda()}" if kind == "cuda" else "ROCm",
        "cudnn": str(paddle.version.cudnn()),
        "memory": properties.total_memory,
    }


def set_numerics_flags(*, allow_tf32: bool) -> dict[str, str]:
    """Nothing: Paddle reads its flags from the environment when it is imported."""
    return {}


def convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """A 3x3 convolution (nchw, oihw) that keeps the size, and the gradients of sum(y * cotangent) to x and w."""
    a, b = _leaf(x), _leaf(w)
    return _pull(F.conv2d(a, b, padding=1), cotangent, a, b)


def multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """The product a @ b, and the gradients of sum(y * cotangent) to a and b."""
    left, right = _leaf(a), _leaf(b)
    return _pull(paddle.matmul(left, right), cotangent, left, right)


def _pull(y: paddle.Tensor, cotangent: np.ndarray, *leaves: paddle.Tensor) -> list[np.ndarray]:
    gradients = paddle.grad(y, list(leaves), _leaf(cotangent))
    return [framework.to_numpy(array) for array in (y, *gradients)]


def _leaf(array: np.ndarray) -> paddle.Tensor:
    bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    return paddle.to_tensor(bits, stop_gradient=False)
