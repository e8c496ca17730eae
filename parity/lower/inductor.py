"""PyTorch's Inductor, compiling for a GPU that is not there: one graph forward, one backward, never executed.

A graph is traced on PyTorch's device without memory (`meta`), gradients and all, because tensors that claim to be on a
GPU end the process as soon as a gradient is taken. Before Inductor optimizes it, every tensor in it is moved to the
stand-in for the device.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch._functorch.config as functorch
from torch._inductor import compile_fx, config
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.graph import GraphLowering
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_map

from . import externs, ptx, standin
from .calls import Product, Reading

DEVICE = torch.device("cuda", 0)


class Compiled:
    """Inductor's product of a function: its kernels as they were read, the calls of libraries, and the memory."""

    def __init__(self, dump: Path) -> None:
        self.dump = dump
        self.kernels: list[ptx.Reading] = []
        self.products: list[Product] = []
        self.unknown: list[str] = []
        self.memory = 0

    @property
    def calls(self) -> Reading:
        """The calls of libraries, as the judge takes them."""
        return Reading(tuple(self.products), tuple(self.unknown))

    def keep_kernel(self, name: str, text: str) -> None:
        """Read a kernel's PTX, and write it down."""
        self.kernels += ptx.read(text)
        (self.dump / f"{len(self.kernels):03}_{name[:80]}.ptx").write_text(text)

    def keep_graph(self, graph: Any) -> None:
        """Read a compiled graph, whose order of operations is fixed."""
        self.memory = max(self.memory, externs.memory(graph))
        products, unknown = externs.read(graph)
        self.products += products
        self.unknown += unknown


def compile_(function: Callable[..., Any], arguments: Sequence[Any], target: str, found: Compiled) -> None:
    """Compile the function for the target, with its gradients to whatever argument or weight wants one.

    Raises:
        RuntimeError: Where Dynamo or Inductor cannot compile it as one graph.
    """

    def backend(module: Any, inputs: Sequence[Any]) -> Callable[..., Any]:
        found.unknown += externs.undecided(module.graph)
        with (
            standin.device(target, found.keep_kernel),
            functorch.patch(force_non_lazy_backward_lowering=True),
            config.patch(joint_custom_pre_pass=ToDevice()),
            patch.object(GraphLowering, "codegen", _reported(found)),
        ):
            compile_fx.compile_fx(module, inputs, inner_compile=_inner)
        # Dynamo goes on with what it gets: the operations themselves, on the device without memory.
        return module.forward

    torch._dynamo.reset()
    torch.compile(function, backend=backend, dynamic=False, fullgraph=True)(*arguments)
    torch._dynamo.reset()


class ToDevice(CustomGraphPass):
    """Inductor's first pass over a graph, which moves it to the device."""

    def __call__(self, graph: Any) -> None:
        to_device(graph)

    def uuid(self) -> str:
        """The pass's name in a cache's key."""
        return __name__


def to_device(graph: Any, inputs: Iterable[Any] = ()) -> list[Any]:
    """Move every tensor of a traced graph from the device without memory to the GPU; the inputs are returned."""
    moved: dict[int, tuple[Any, Any]] = {}

    def move(value: Any) -> Any:
        if not isinstance(value, FakeTensor) or value.device.type != "meta":
            return value
        # A tensor may stand in several places. It is kept with what it becomes, so that its number stays its own.
        if id(value) not in moved:
            with value.fake_mode:
                shape, strides = value.shape, value.stride()
                moved[id(value)] = torch.empty_strided(shape, strides, dtype=value.dtype, device=DEVICE), value
        return moved[id(value)][0]

    def rename(argument: Any) -> Any:
        return DEVICE if isinstance(argument, torch.device) and argument.type == "meta" else argument

    for node in graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = tree_map(move, node.meta["val"])
        node.args, node.kwargs = tree_map(rename, node.args), tree_map(rename, node.kwargs)
    return [move(value) for value in inputs]


def _inner(module: Any, inputs: Sequence[Any], **options: Any) -> Any:
    """Inductor's own compiler of one graph, forward or backward, which it gets for the GPU."""
    inputs = to_device(module.graph, inputs)
    module.recompile()
    return compile_fx.compile_fx_inner(module, inputs, **options)


def _reported(found: Compiled) -> Callable[..., Any]:
    generate = GraphLowering.codegen

    def codegen(graph: Any) -> Any:
        code = generate(graph)
        found.keep_graph(graph)
        return code

    return codegen
