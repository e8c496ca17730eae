"""JAX's devices: CUDA and ROCm (both call themselves gpu), TPU, and Apple's METAL."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .. import flax as framework
from ..layout import relayout

# What computes convolutions and matrix products.
LIBRARIES: Mapping[str, tuple[str, str]] = {}


def available() -> list[str]:
    """The devices that JAX sees."""
    return list(_devices())


def select(device: str) -> None:
    """Put models and inputs on `device` from now on."""
    jax.config.update("jax_default_device", _devices()[device])


def describe(device: str) -> dict[str, str | int]:
    """The device's name, driver and memory in bytes, as far as JAX tells."""
    if device == "cpu":
        return {}
    found = _devices()[device]
    memory = (found.memory_stats() or {}).get("bytes_limit", 0)
    return {"name": found.device_kind, "runtime": found.client.platform_version.replace("\n", " "), "memory": memory}


def set_numerics_flags(*, allow_tf32: bool) -> dict[str, str]:
    """Nothing to set: JAX read its variables when it was imported; what it made of them is returned."""
    return {"jax_default_matmul_precision": str(jax.config.jax_default_matmul_precision)}


def convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """A 3x3 convolution (nchw, oihw) that keeps the size, and the gradients of sum(y * cotangent) to x and w."""

    def forward(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(a, b, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    maps = [np.ascontiguousarray(relayout(array, "nchw", "nhwc")) for array in (x, cotangent)]
    kernel = np.ascontiguousarray(relayout(w, "oihw", "hwio"))
    y, to_x, to_w = _pull(forward, maps[0], kernel, maps[1])
    return [relayout(y, "nhwc", "nchw"), relayout(to_x, "nhwc", "nchw"), relayout(to_w, "hwio", "oihw")]


def multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """The product a @ b, and the gradients of sum(y * cotangent) to a and b."""
    return _pull(jnp.matmul, a, b, cotangent)


def _pull(
    forward: Callable[[jax.Array, jax.Array], jax.Array], a: np.ndarray, b: np.ndarray, cotangent: np.ndarray
) -> list[np.ndarray]:
    @jax.jit
    def pull(a: jax.Array, b: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(forward, a, b)
        return y, *back(cotangent)

    return [framework.to_numpy(array) for array in pull(jnp.asarray(a), jnp.asarray(b), jnp.asarray(cotangent))]


def _devices() -> dict[str, jax.Device]:
    """The devices by name: those of the default backend, and the processor."""
    named = {}
    for device in (*jax.devices(), *jax.devices("cpu")[:1]):
        kind = _kind(device)
        named["cpu" if kind == "cpu" else f"{kind}:{device.id}"] = device
    return named


def _kind(device: jax.Device) -> str:
    platform = device.platform.lower()
    if platform == "gpu":
        return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return {"metal": "mps"}.get(platform, platform)
