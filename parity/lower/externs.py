"""Calls of libraries in an Inductor graph, and the memory that it takes, read from its final order of operations."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch._inductor import ir

from .calls import Product

# Products by the name of the operation, with the switch that says how precisely the library computes them.
PRODUCTS: Mapping[str, str] = {
    **dict.fromkeys(("convolution", "convolution_backward"), "cudnn.conv"),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), "cuda.matmul"),
}
# Operations that multiply nothing, and which have an order where deterministic algorithms are on: PyTorch sorts the
# places first (documentation of `torch.use_deterministic_algorithms`).
ORDERED = ("scatter_", "scatter_reduce_", "index_put_", "index_put", "_unsafe_index_put")
# Seeds of random numbers.
HARMLESS = ("randint",)
KINDS = {torch.float64: "f64", torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
# What PyTorch itself decides by the device, so that nothing here can say which kernel it becomes.
UNDECIDED = {torch._C._nn.scaled_dot_product_attention: "scaled_dot_product_attention"}


def read(graph: Any) -> tuple[list[Product], list[str]]:
    """The products that libraries compute, and the calls that nobody here has judged."""
    products, unknown = [], []
    for node in _calls(graph):
        name = operation(node)
        if name in PRODUCTS:
            switch = PRODUCTS[name]
            products.append(Product(node.get_name(), f"{name} ({switch})", _kind(node), precision(switch)))
        elif not (name in HARMLESS or (name in ORDERED and torch.are_deterministic_algorithms_enabled())):
            unknown.append(name)
    return products, unknown


def undecided(graph: Any) -> list[str]:
    """The operations of a traced program whose kernel PyTorch chooses on the device alone."""
    return [UNDECIDED[node.target] for node in graph.nodes if node.op == "call_function" and node.target in UNDECIDED]


def operation(node: Any) -> str:
    """The operation's name without its namespace and overload: `aten.mm.out` and `extern_kernels.mm` are `mm`."""
    names = (getattr(node, "op_overload", None), getattr(node, "python_kernel_name", None), type(node).__name__)
    parts = next(str(name) for name in names if name).removeprefix("torch.ops.").split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def precision(switch: str) -> str:
    """The setting of PyTorch's switch."""
    library, part = switch.split(".")
    return str(getattr(getattr(torch.backends, library), part).fp32_precision)


def memory(graph: Any) -> int:
    """The bytes of a graph's inputs and of the most that is alive at once that it writes, libraries' left out."""
    steps = graph.scheduler.nodes
    last = {name: i for i, step in enumerate(steps) for name in step.used_buffer_names()}
    last |= dict.fromkeys(graph.get_output_names(), len(steps))
    alive = [0] * (len(steps) + 1)
    for begin, step in enumerate(steps):
        for buffer in step.get_outputs():
            name = buffer.get_name()
            # One that stays within a kernel, or takes another's place, takes none of its own.
            if name in graph.removed_buffers or name in graph.inplaced_to_remove:
                continue
            for i in range(begin, last.get(name, begin) + 1):
                alive[i] += _bytes(buffer.node)
    return sum(map(_bytes, graph.graph_inputs.values())) + max(alive)


def _calls(graph: Any) -> Iterator[Any]:
    for step in graph.scheduler.nodes:
        if step.is_extern() and not isinstance(step.node, ir.MultiOutput | ir.UserDefinedTritonKernel):
            yield step.node


def _kind(node: Any) -> str:
    """The type of the first factor."""
    return KINDS.get(node.inputs[0].get_dtype(), "")


def _bytes(buffer: Any) -> int:
    """The bytes of a buffer, 0 for one that is part of another or no tensor."""
    layout = getattr(buffer, "get_output_spec", lambda: None)()
    if not isinstance(layout, ir.Layout) or isinstance(layout, ir.NonOwningLayout | ir.MutationLayoutSHOULDREMOVE):
        return 0
    return int(layout.storage_size()) * layout.dtype.itemsize
