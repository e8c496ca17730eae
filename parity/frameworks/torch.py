"""PyTorch: build a module, list and set its arrays, run it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_impl

NAME = "torch"
Trainer = Callable[[np.ndarray, np.ndarray], np.ndarray]
THREADS = 1
# Where models and inputs are put; `parity.frameworks.devices` sets it.
DEVICE = torch.device("cpu")
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolution", (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    ("linear", (nn.Linear,)),
    ("norm", (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)),
)


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"torch": str(torch.__version__)}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """A new module of torch_impl."""
    return getattr(torch_impl, module)(*args, **kwargs).to(DEVICE)


def variables(model: nn.Module) -> Iterator[tuple[str, str | None, Tensor]]:
    """Each array: its native key, the kind of layer that owns it (None where unknown), and its tensor."""
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    for path, layer in model.named_modules(remove_duplicate=False):
        kind = next((kind for kind, types in KINDS if isinstance(layer, types)), None)
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if tensor is None or name in layer._non_persistent_buffers_set or name == "num_batches_tracked":
                continue
            yield (f"{path}.{name}" if path else name), kind, tensor


def to_numpy(variable: Tensor) -> np.ndarray:
    """The tensor's values; the array may share its memory."""
    tensor = variable.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        from ml_dtypes import bfloat16

        return tensor.view(torch.int16).numpy().view(bfloat16)
    return tensor.numpy()


def assign(variable: Tensor, array: np.ndarray) -> None:
    """Put `array`, whose memory the tensor may keep, in place of the tensor's values and dtype."""
    variable.data = from_numpy(array).to(variable.device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def on_device(array: np.ndarray) -> Tensor:
    """A copy of the array on DEVICE."""
    return from_numpy(array.copy()).to(DEVICE)


def formed(model: nn.Module, x: Tensor, form: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The model as `form` executes it, and its input."""
    if form == "torch.compile":
        torch.compiler.reset()
        return torch.compile(model, dynamic=False), x
    if form == "torch.export":
        return torch.export.export(model, (x,)).module(), x
    if form == "folded":
        return torch_impl.fold(model), x
    if form == "channels-last":
        return model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return model, x


def reset_counters(model: nn.Module) -> None:
    """Set the number of batches that each batch norm has seen to zero."""
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()


def release() -> None:
    """Nothing: a finished case holds no memory."""


def forward(model: nn.Module, x: np.ndarray, *, train: bool, form: str = "eager") -> np.ndarray:
    """The model's output for `x` (n, c, h, w); in train mode its running values move."""
    model.train(train)
    with torch.no_grad():
        call, tensor = formed(model, on_device(x), form)
        return to_numpy(call(tensor))


def gradients(
    model: nn.Module, x: np.ndarray, cotangent: np.ndarray, *, train: bool, form: str = "eager"
) -> dict[str, np.ndarray]:
    """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""
    model.train(train)
    leaves = {key: tensor for key, _, tensor in variables(model) if isinstance(tensor, nn.Parameter)}
    call, tensor = formed(model, on_device(x), form)
    leaves = {"input": tensor.requires_grad_(), **leaves}
    found = torch.autograd.grad(call(tensor), list(leaves.values()), on_device(cotangent))
    return {key: to_numpy(gradient) for key, gradient in zip(leaves, found, strict=True)}


def trainer(model: nn.Module, method: str, loss: str, options: Mapping[str, float]) -> Trainer:
    """A function that takes an input and a target, makes one step with PyTorch's optimizer and gives the loss."""
    model.train()
    parameters = list(model.parameters())
    rate, decay = options["rate"], options["decay"]
    if method in ("adam", "adamw"):
        kind = torch.optim.AdamW if method == "adamw" else torch.optim.Adam
        betas = (options["beta1"], options["beta2"])
        optimizer = kind(parameters, lr=rate, betas=betas, eps=options["epsilon"], weight_decay=decay)
    else:
        momentum, nesterov = options.get("momentum", 0.0), method == "nesterov"
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    criterion: Any = {"mse": F.mse_loss, "cross-entropy": F.cross_entropy}[loss]

    def step(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        value = criterion(model(on_device(x)), on_device(target))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return to_numpy(value)

    return step
