"""Known differences between ports and their originals: what else an operation of PyTorch might have been written as.

Each function takes a call as it was made and gives the ways in which ports get it wrong, each with both values, the
words to look for on the line to change, and what computes it. Nothing here decides: `causes` tries them all.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .activations import activation, clamp, softmax
from .arithmetic import arithmetic, reduction, variance
from .attention import attention, attention_layer
from .change import Changes, Hints
from .norms import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from .pools import adaptive_pool, average_pool, interpolate, max_pool
from .products import convolution, embedding, linear, matmul, transposed
from .recurrent import gru, lstm
from .shapes import concatenate, item, order, pad, parts, repeat, repeat_each, reshape, roll

TABLE: Mapping[str, Callable[[Any, Any, Any, Hints], Changes]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), average_pool),
    **dict.fromkeys(
        (f"adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)), adaptive_pool
    ),
    **dict.fromkeys(
        ("relu", "relu_", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu", "elu",
         "mish", "softplus", "hardtanh", "selu", "sigmoid_", "tanh_"), activation),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack"), concatenate),
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten"), reshape),
    **dict.fromkeys(("mean", "sum", "amax"), reduction),
    **dict.fromkeys(("var", "std"), variance),
    **dict.fromkeys(
        ("add", "sub", "mul", "div", "add_", "mul_", "__add__", "__mul__", "__radd__", "__rmul__", "__sub__",
         "__rsub__", "true_divide", "__truediv__", "maximum"), arithmetic),
    **dict.fromkeys(("chunk", "split", "unbind", "tensor_split", "__iter__"), parts),
    **dict.fromkeys(("matmul", "bmm", "__matmul__", "mm"), matmul),
    **dict.fromkeys(("clamp", "clip", "clamp_"), clamp),
    **dict.fromkeys(("transpose", "permute", "swapaxes", "mT"), order),
    "linear": linear,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "rms_norm": rms_norm,
    "interpolate": interpolate,
    "scaled_dot_product_attention": attention,
    "__getitem__": item,
    "pad": pad,
    "lstm": lstm,
    "embedding": embedding,
    "roll": roll,
    "repeat": repeat,
    "tile": repeat,
    "repeat_interleave": repeat_each,
    "instance_norm": instance_norm,
    "multi_head_attention_forward": attention_layer,
    "gru": gru,
}  # fmt: skip
