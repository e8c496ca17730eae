"""Known differences of activations."""

from collections.abc import Callable, Mapping
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
import torch.nn.functional as F
from torch import Tensor

from .change import Change, Changes, Hints, bind

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "no activation": lambda x: x,
    "relu": torch.relu,
    "gelu, erf": lambda x: F.gelu(x),
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu, sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu6": F.relu6,
    "hard swish": F.hardswish,
    "hard sigmoid, slope 1/6": F.hardsigmoid,
    "hard sigmoid, slope 0.2": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "leaky relu, slope 0.01": lambda x: F.leaky_relu(x, 0.01),
    "leaky relu, slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "leaky relu, slope 0.1": lambda x: F.leaky_relu(x, 0.1),
    "leaky relu, slope 0.3": lambda x: F.leaky_relu(x, 0.3),
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "softplus": F.softplus,
    "x sigmoid, slope 0.2": lambda x: x * (0.2 * x + 0.5).clamp(0, 1),
    "square of relu": lambda x: torch.relu(x).square(),
    "softsign": F.softsign,
    "hard tanh": lambda x: F.hardtanh(x),
}


def activation(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Another activation, or none."""
    x = args[0] if args else kwargs["input"]
    name = func.__name__.rstrip("_")
    here = f"{name}{', ' + ('tanh' if kwargs.get('approximate') == 'tanh' else 'erf') if name == 'gelu' else ''}"
    # What writes into its operand would spoil it for the next attempt.
    y = func(x.clone(), *args[1:], **{key: value for key, value in kwargs.items() if key != "input"})
    for there, compute in ACTIVATIONS.items():
        if not torch.equal(compute(x), y):
            word = there.partition(",")[0].replace(" ", "_")
            words = (word, word.replace("_", ""), word.rpartition("_")[2]) if there != "no activation" else (name,)
            yield Change("the activation", here, there, words, lambda c=compute: c(x))


def softmax(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Another axis of a softmax."""
    kwargs = {key: value for key, value in kwargs.items() if key != "_stacklevel"}
    a = bind("input dim", args, kwargs, {"dim": None})
    x, dim = a["input"], a["dim"]
    if dim is None:
        return
    for axis in range(x.ndim):
        if axis != dim % x.ndim:
            yield Change(
                "the softmax's axis",
                str(dim),
                str(axis - x.ndim),
                ("softmax",),
                lambda d=axis: torch.softmax(x, d) if "log" not in func.__name__ else torch.log_softmax(x, d),
            )
    yield Change("the softmax", "there", "left out", ("softmax",), lambda: x)
    yield Change("the softmax", "softmax", "sigmoid", ("sigmoid",), lambda: x.sigmoid())
    other = torch.log_softmax if "log" not in func.__name__ else torch.softmax
    yield Change("the softmax", func.__name__, other.__name__, ("softmax",), lambda: other(x, dim))
    if x.ndim > 2 and x.shape[-1] == x.shape[-2]:
        later = torch.ones(x.shape[-2:], dtype=torch.bool).triu(1)
        words = ("mask", "causal", "tri", "softmax")
        yield Change("the causal mask", "none", "there", words, lambda: func(x.masked_fill(later, -torch.inf), dim))


def clamp(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The ends of a clamp."""
    a = bind("input min max", args, kwargs, {"min": None, "max": None})
    x, low, high = a["input"], a["min"], a["max"]
    yield Change("the clamp", "there", "left out", ("clip", "clamp"), lambda: x.clone())
    if low is not None and high is not None:
        yield Change("the upper end", str(high), "none", ("clip", "clamp"), lambda: x.clamp(min=low))
        yield Change("the upper end", str(high), "6", ("clip", "clamp"), lambda: x.clamp(low, 6))
        yield Change("the lower end", str(low), "none", ("clip", "clamp"), lambda: x.clamp(max=high))
