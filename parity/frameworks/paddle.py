"""Paddle: build a module, list and set its arrays, run it; on processors, CUDA, ROCm, XPU (Kunlun)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.nn.layer.norm import _BatchNormBase

import paddle_impl

from .adapter import Trainer
from .layers import Layer, join, normed

NAME = "paddle"
THREADS = 1
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolution", (nn.Conv1D, nn.Conv2D, nn.Conv3D)),
    ("transposed", (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose)),
    ("linear", (nn.Linear,)),
    ("embedding", (nn.Embedding,)),
    ("instance-norm", (nn.InstanceNorm1D, nn.InstanceNorm2D, nn.InstanceNorm3D)),
    ("norm", (_BatchNormBase, nn.BatchNorm, nn.GroupNorm)),
    ("layer-norm", (nn.LayerNorm,)),
    ("prelu", (nn.PReLU,)),
    ("lstm", (nn.LSTM,)),
    ("gru", (nn.GRU,)),
    ("rnn", (nn.SimpleRNN,)),
    ("lstm-cell", (nn.LSTMCell,)),
    ("gru-cell", (nn.GRUCell,)),
    ("rnn-cell", (nn.SimpleRNNCell,)),
)
# What holds arrays for others.
CONTAINERS = (nn.ParameterList, nn.ParameterDict)
# What computes convolutions and matrix products.
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "cuda": ("cudnn.conv", "cublas.matmul"),
    "rocm": ("miopen.conv", "rocblas.matmul"),
}


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"paddle": str(paddle.__version__)}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Layer:
    """A new module of paddle_impl."""
    return getattr(paddle_impl, module)(*args, **kwargs)


def variables(model: nn.Layer) -> Iterator[tuple[str, Tensor]]:
    """Each array: its native key and its tensor."""
    for path, layer in unwrapped(model).named_sublayers(include_self=True, remove_duplicate=False):
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if tensor is None or name in layer._non_persistable_buffer_names_set or name == "_dropout_state":
                continue
            yield join(path, name), tensor


def layers(model: nn.Layer) -> dict[str, Layer]:
    """The layers by path: those of Paddle's library; those of the user's own keep their arrays as they are."""
    found = {}
    for path, layer in unwrapped(model).named_sublayers(include_self=True, remove_duplicate=False):
        kind = next((kind for kind, types in KINDS if isinstance(layer, types)), "")
        of_library = type(layer).__module__.startswith("paddle.") and not isinstance(layer, CONTAINERS)
        if kind or of_library or isinstance(layer, nn.MultiHeadAttention):
            found[path] = Layer(*_seen(layer, kind), extras=not of_library)
    return found


def unwrapped(model: nn.Layer) -> nn.Layer:
    """The model within what shares it out, which puts a word in front of its keys."""
    return model._layers if isinstance(model, paddle.DataParallel) else model


def _seen(layer: nn.Layer, kind: str) -> tuple[str, dict[str, int]]:
    """The kind of a layer, and the sizes that its arrays' shapes do not tell."""
    if isinstance(layer, nn.MultiHeadAttention):
        fused = layer.kdim == layer.vdim == layer.embed_dim
        return "attention" if fused else "split-attention", {"h": layer.num_heads}
    if isinstance(layer, nn.SimpleRNN | nn.LSTM | nn.GRU) and layer.num_directions == 2:
        return f"{kind}-bidirectional", {}
    if isinstance(layer, nn.LayerNorm):
        return kind, {f"...{i}": size for i, size in enumerate(layer._normalized_shape)}
    kind = normed(kind, layer._parameters) if kind else kind
    # PyTorch norms a linear layer's weight for each output, which is Paddle's second axis.
    hooks = [hook for hook in layer._forward_pre_hooks.values() if hasattr(hook, "dim")]
    if kind.endswith("norm-linear") and any(hook.dim not in (1, -1) or hook.dim == -1 for hook in hooks):
        return "", {}
    return kind, {}


def to_numpy(variable: Tensor) -> np.ndarray:
    """The tensor's values; Paddle gives bfloat16 as the bits, in uint16."""
    array = variable.detach().numpy()
    if variable.dtype == paddle.bfloat16:
        from ml_dtypes import bfloat16

        return array.view(bfloat16)
    return array


def assign(variable: Tensor, array: np.ndarray) -> None:
    """Put `array` in place of the tensor's values and dtype."""
    # set_value keeps the tensor's dtype and refuses another.
    from_numpy(array, place=variable.place)._share_underline_tensor_to(variable)


def from_numpy(array: np.ndarray, **options: Any) -> Tensor:
    """A tensor with the array's values; Paddle takes bfloat16 as the bits, in uint16."""
    return paddle.to_tensor(array.view(np.uint16) if array.dtype.name == "bfloat16" else array, **options)


def executed(model: nn.Layer, execution: str) -> Callable[[Tensor], Tensor]:
    """The model as `execution` says.

    Raises:
        TypeError: For a program in half precision on the processor. Paddle has not all kernels for one, and where the
            processor has no instructions for bfloat16 its mean ends the whole process instead of saying so.
    """
    if execution == "folded":
        return paddle_impl.fold(model)
    if execution != "paddle.jit.to_static":
        return model
    half = any(tensor.dtype in (paddle.bfloat16, paddle.float16) for tensor in model.parameters())
    if half and paddle.device.get_device() == "cpu":
        raise TypeError("Paddle runs no program in half precision on a processor")
    return paddle.jit.to_static(model.forward, full_graph=True)


def reset_counters(model: nn.Layer) -> None:
    """Nothing: Paddle counts no batches."""


def release() -> None:
    """Nothing: a finished case holds no memory."""


def forward(model: nn.Layer, x: np.ndarray, *, train: bool, execution: str = "eager") -> np.ndarray:
    """The model's output for `x` (n, c, h, w); in train mode its running values move."""
    model.train() if train else model.eval()
    with paddle.no_grad():
        return to_numpy(executed(model, execution)(from_numpy(x)))


def gradients(
    model: nn.Layer, x: np.ndarray, cotangent: np.ndarray, *, train: bool, execution: str = "eager"
) -> dict[str, np.ndarray]:
    """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""
    model.train() if train else model.eval()
    leaves = {key: tensor for key, tensor in variables(model) if not tensor.stop_gradient}
    leaves = {"input": from_numpy(x, stop_gradient=False), **leaves}
    output = executed(model, execution)(leaves["input"])
    found = paddle.grad(output, list(leaves.values()), from_numpy(cotangent))
    return {key: to_numpy(gradient) for key, gradient in zip(leaves, found, strict=True)}


def trainer(model: nn.Layer, method: str, loss: str, options: Mapping[str, float]) -> Trainer:
    """A function that takes an input and a target, makes one step with Paddle's optimizer and gives the loss."""
    model.train()
    parameters = model.parameters()
    rate, decay = options["rate"], options["decay"]
    if method in ("adam", "adamw"):
        kind = paddle.optimizer.AdamW if method == "adamw" else paddle.optimizer.Adam
        beta1, beta2, epsilon = options["beta1"], options["beta2"], options["epsilon"]
        optimizer = kind(rate, beta1, beta2, epsilon, parameters=parameters, weight_decay=decay)
    elif method == "sgd":
        optimizer = paddle.optimizer.SGD(rate, parameters, weight_decay=decay)
    else:
        momentum, nesterov = options["momentum"], method == "nesterov"
        optimizer = paddle.optimizer.Momentum(rate, momentum, parameters, use_nesterov=nesterov, weight_decay=decay)
    criterion = {"mse": F.mse_loss, "cross-entropy": partial(F.cross_entropy, axis=1)}[loss]

    def step(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        value = criterion(model(paddle.to_tensor(x)), paddle.to_tensor(target))
        optimizer.clear_grad()
        value.backward()
        optimizer.step()
        return to_numpy(value)

    return step


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
    return [to_numpy(array) for array in (y, *gradients)]


def _leaf(array: np.ndarray) -> paddle.Tensor:
    return from_numpy(array, stop_gradient=False)
