"""PyTorch's devices: CUDA and ROCm (which calls itself cuda), Apple's MPS, Intel's XPU."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from .. import torch as framework

# What computes convolutions and matrix products, as `torch.backends` calls it.
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "cpu": ("mkldnn.conv", "mkldnn.matmul"),
    "cuda": ("cudnn.conv", "cuda.matmul"),
    "rocm": ("miopen.conv", "hipblas.matmul"),
}


def available() -> list[str]:
    """The devices that PyTorch sees."""
    kind = "rocm" if torch.version.hip else "cuda"
    gpus = [f"{kind}:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    intel = [f"xpu:{i}" for i in range(torch.xpu.device_count())] if torch.xpu.is_available() else []
    apple = ["mps:0"] if torch.backends.mps.is_available() else []
    return [*gpus, *intel, *apple, "cpu"]


def select(device: str) -> None:
    """Put models and inputs on `device` from now on."""
    framework.DEVICE = torch.device(device.replace("rocm", "cuda"))


def describe(device: str) -> dict[str, str | int]:
    """The device's name, driver and memory in bytes, as far as PyTorch tells."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "rocm"):
        properties = torch.cuda.get_device_properties(framework.DEVICE)
        return {
            "name": properties.name,
            "runtime": f"CUDA {torch.version.cuda}" if kind == "cuda" else f"ROCm {torch.version.hip}",
            "cudnn": str(torch.backends.cudnn.version()),
            "memory": properties.total_memory,
        }
    if kind == "xpu":
        properties = torch.xpu.get_device_properties(framework.DEVICE)
        return {"name": properties.name, "driver": properties.driver_version, "memory": properties.total_memory}
    if kind == "mps":
        return {"name": "Apple GPU", "memory": torch.mps.recommended_max_memory()}
    return {}


def set_numerics_flags(*, allow_tf32: bool) -> dict[str, str]:
    """Set every switch that a running PyTorch has; returned as they stand."""
    backends = torch.backends
    # The old switches first, to the same effect: torch.export reads them, and refuses where the leaves say otherwise.
    # Then one leaf at a time: what a parent says does not reach a leaf that was set before. Before 2.9 there are none.
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = allow_tf32
    leaves = {
        "cuda.matmul": backends.cuda.matmul,
        "cudnn.conv": getattr(backends.cudnn, "conv", None),
        "cudnn.rnn": getattr(backends.cudnn, "rnn", None),
        "mkldnn.matmul": getattr(backends.mkldnn, "matmul", None),
        "mkldnn.conv": getattr(backends.mkldnn, "conv", None),
    }
    precision = "tf32" if allow_tf32 else "ieee"
    found = {}
    for name, leaf in leaves.items():
        if hasattr(leaf, "fp32_precision"):
            leaf.fp32_precision = precision
            found[f"{name}.fp32_precision"] = str(leaf.fp32_precision)
    if not found:
        found["allow_tf32"] = str(allow_tf32)
    # So that half precisions are added up in float32 to the end, which their noise takes for granted.
    for half in ("fp16", "bf16"):
        name = f"allow_{half}_reduced_precision_reduction"
        setattr(backends.cuda.matmul, name, False)
        found[f"cuda.matmul.{name}"] = str(getattr(backends.cuda.matmul, name))
    backends.cudnn.benchmark = False
    backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True)
    return {**found, "cudnn.benchmark": "False", "deterministic_algorithms": "True"}


def convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """A 3x3 convolution (nchw, oihw) that keeps the size, and the gradients of sum(y * cotangent) to x and w."""
    a, b = _leaf(x), _leaf(w)
    return _pull(F.conv2d(a, b, padding=1), cotangent, a, b)


def multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """The product a @ b, and the gradients of sum(y * cotangent) to a and b."""
    left, right = _leaf(a), _leaf(b)
    return _pull(torch.matmul(left, right), cotangent, left, right)


def _pull(y: torch.Tensor, cotangent: np.ndarray, *leaves: torch.Tensor) -> list[np.ndarray]:
    gradients = torch.autograd.grad(y, leaves, framework.on_device(cotangent))
    return [framework.to_numpy(array) for array in (y, *gradients)]


def _leaf(array: np.ndarray) -> torch.Tensor:
    return framework.on_device(array).requires_grad_()
