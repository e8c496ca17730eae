"""The interface of an adapter: what the file of each framework has, checked by mypy.

NumPy in and NumPy out, maps always in the order n, c, h, w. A device is called by kind and number, "cpu", "cuda:0",
"rocm:1", "mps:0", "xpu:0", "tpu:0", in every framework.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .layers import Layer

Trainer = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Adapter(Protocol):
    """One framework's functions.

    Attributes:
        NAME: The framework.
        THREADS: How many modules it computes side by side.
        LIBRARIES: What computes convolutions and matrix products, by kind of device.
    """

    NAME: str
    THREADS: int
    LIBRARIES: Mapping[str, tuple[str, str]]

    def versions(self) -> dict[str, str]:
        """The versions of the libraries that compute."""

    def build(self, module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A new module of the framework's mirror."""

    def variables(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Each array: its native key and what holds it."""

    def layers(self, model: Any) -> dict[str, Layer]:
        """The library's layers by path."""

    def to_numpy(self, variable: Any) -> np.ndarray:
        """The array's values; the result may share its memory."""

    def assign(self, variable: Any, array: np.ndarray) -> None:
        """Put `array`, whose memory may be kept, in place of the values and the dtype."""

    def reset_counters(self, model: Any) -> None:
        """Begin anew whatever counts batches or draws numbers."""

    def release(self) -> None:
        """Free what finished cases hold."""

    def forward(self, model: Any, x: np.ndarray, *, train: bool, execution: str = "eager") -> np.ndarray:
        """The model's output for `x`; in train mode its running values move."""

    def gradients(
        self, model: Any, x: np.ndarray, cotangent: np.ndarray, *, train: bool, execution: str = "eager"
    ) -> dict[str, np.ndarray]:
        """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""

    def trainer(self, model: Any, method: str, loss: str, options: Mapping[str, float]) -> Trainer:
        """A function that takes an input and a target, makes one optimizer step and gives the loss."""

    def available(self) -> list[str]:
        """The devices that the framework sees."""

    def select(self, device: str) -> None:
        """Put models and inputs on `device` from now on."""

    def describe(self, device: str) -> dict[str, str | int]:
        """The device's name, driver and memory in bytes, as far as the framework tells."""

    def set_numerics_flags(self, *, allow_tf32: bool) -> dict[str, str]:
        """Set the switches that a running framework has; returned as they stand."""

    def convolve(self, x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
        """A 3x3 convolution (nchw, oihw) that keeps the size, and its gradients to `x` and `w`."""

    def multiply(self, a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
        """The product a @ b, and its gradients to `a` and `b`."""


if TYPE_CHECKING:
    from . import flax, onnx, paddle, torch

    ADAPTERS: list[Adapter] = [torch, paddle, flax, onnx]
