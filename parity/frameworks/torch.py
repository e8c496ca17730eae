"""PyTorch: build a module, list and set its arrays, run it; on processors, CUDA, ROCm, MPS (Apple), XPU (Intel)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_impl

from .adapter import Trainer
from .layers import Layer, join, normed
from .layout import COUNTER

NAME = "torch"
THREADS = 1
# Where models and inputs are put; `select` sets it.
DEVICE = torch.device("cpu")
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolution", (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    ("transposed", (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
    ("linear", (nn.Linear,)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("instance-norm", (nn.modules.instancenorm._InstanceNorm,)),
    ("norm", (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)),
    ("layer-norm", (nn.LayerNorm, nn.RMSNorm)),
    ("prelu", (nn.PReLU,)),
    ("lstm", (nn.LSTM,)),
    ("gru", (nn.GRU,)),
    ("rnn", (nn.RNN,)),
    ("lstm-cell", (nn.LSTMCell,)),
    ("gru-cell", (nn.GRUCell,)),
    ("rnn-cell", (nn.RNNCell,)),
)
# What holds arrays for others.
CONTAINERS = (nn.ParameterList, nn.ParameterDict, nn.utils.parametrize.ParametrizationList)
# What computes convolutions and matrix products, as `torch.backends` calls it.
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "cpu": ("mkldnn.conv", "mkldnn.matmul"),
    "cuda": ("cudnn.conv", "cuda.matmul"),
    "rocm": ("miopen.conv", "hipblas.matmul"),
}


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"torch": str(torch.__version__)}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """A new module of torch_impl."""
    return getattr(torch_impl, module)(*args, **kwargs).to(DEVICE)


def variables(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each array: its native key and its tensor."""
    for path, layer in unwrapped(model).named_modules(remove_duplicate=False):
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if tensor is None or name in layer._non_persistent_buffers_set or name == COUNTER:
                continue
            yield join(path, name), tensor


def layers(model: nn.Module) -> dict[str, Layer]:
    """The layers by path: those of PyTorch's library; modules of the user's own keep their arrays as they are."""
    found = {}
    for path, module in unwrapped(model).named_modules(remove_duplicate=False):
        kind = next((kind for kind, types in KINDS if isinstance(module, types)), "")
        of_library = type(module).__module__.startswith("torch.") and not isinstance(module, CONTAINERS)
        if kind or of_library or isinstance(module, nn.MultiheadAttention):
            found[path] = Layer(*_seen(module, kind), extras=not of_library)
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within what compiles it or shares it out, which puts a word in front of its keys."""
    while (inner := getattr(model, "_orig_mod", None)) is not None or isinstance(
        model, nn.DataParallel | nn.parallel.DistributedDataParallel
    ):
        model = model.module if inner is None else inner
    return model


def _seen(module: nn.Module, kind: str) -> tuple[str, dict[str, int]]:
    """The kind of a layer, and the sizes that its arrays' shapes do not tell."""
    if isinstance(module, nn.MultiheadAttention):
        fused = module._qkv_same_embed_dim
        return "attention" if fused else "split-attention", {"h": module.num_heads}
    if isinstance(module, nn.RNNBase) and module.bidirectional:
        return f"{kind}-bidirectional", {}
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return kind, {f"...{i}": size for i, size in enumerate(module.normalized_shape)}
    parts = getattr(module, "parametrizations", {}).values()
    names = [*module._parameters, *("weight_g" if hasattr(part, "original0") else "weight_orig" for part in parts)]
    return normed(kind, names) if kind else kind, {}


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


def executed(model: nn.Module, x: Tensor, execution: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The model as `execution` says, and its input."""
    if execution == "torch.compile":
        torch.compiler.reset()
        return torch.compile(model, dynamic=False), x
    if execution == "torch.export":
        return torch.export.export(model, (x,)).module(), x
    if execution == "folded":
        return torch_impl.fold(model), x
    if execution == "channels-last":
        return model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return model, x


def reset_counters(model: nn.Module) -> None:
    """Set the number of batches that each batch norm has seen to zero."""
    for name, buffer in model.named_buffers():
        if name.endswith(COUNTER):
            buffer.zero_()


def release() -> None:
    """Nothing: a finished case holds no memory."""


def forward(model: nn.Module, x: np.ndarray, *, train: bool, execution: str = "eager") -> np.ndarray:
    """The model's output for `x` (n, c, h, w); in train mode its running values move."""
    model.train(train)
    with torch.no_grad():
        call, tensor = executed(model, on_device(x), execution)
        return to_numpy(call(tensor))


def gradients(
    model: nn.Module, x: np.ndarray, cotangent: np.ndarray, *, train: bool, execution: str = "eager"
) -> dict[str, np.ndarray]:
    """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""
    model.train(train)
    leaves = {key: tensor for key, tensor in variables(model) if isinstance(tensor, nn.Parameter)}
    call, tensor = executed(model, on_device(x), execution)
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


def available() -> list[str]:
    """The devices that PyTorch sees."""
    kind = "rocm" if torch.version.hip else "cuda"
    gpus = [f"{kind}:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    intel = [f"xpu:{i}" for i in range(torch.xpu.device_count())] if torch.xpu.is_available() else []
    apple = ["mps:0"] if torch.backends.mps.is_available() else []
    return [*gpus, *intel, *apple, "cpu"]


def select(device: str) -> None:
    """Put models and inputs on `device` from now on."""
    global DEVICE
    DEVICE = torch.device(device.replace("rocm", "cuda"))


def describe(device: str) -> dict[str, str | int]:
    """The device's name, driver and memory in bytes, as far as PyTorch tells."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "rocm"):
        properties = torch.cuda.get_device_properties(DEVICE)
        return {
            "name": properties.name,
            "runtime": f"CUDA {torch.version.cuda}" if kind == "cuda" else f"ROCm {torch.version.hip}",
            "cudnn": str(torch.backends.cudnn.version()),
            "memory": properties.total_memory,
        }
    if kind == "xpu":
        properties = torch.xpu.get_device_properties(DEVICE)
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
    gradients = torch.autograd.grad(y, leaves, on_device(cotangent))
    return [to_numpy(array) for array in (y, *gradients)]


def _leaf(array: np.ndarray) -> torch.Tensor:
    return on_device(array).requires_grad_()
