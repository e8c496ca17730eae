"""A stand-in for the device: what PyTorch and Triton are told about a GPU that is not there.

Inductor asks for the device's properties and generates Triton kernels; Triton compiles them to PTX. Neither needs the
device for that, only what stands in `targets/`. The assembler and whatever would load or run a kernel are left out.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch._dynamo.device_interface as interfaces
import triton
from torch._inductor import async_compile, config, decomposition
from torch._inductor.fx_passes import joint_graph, post_grad
from torch._inductor.runtime import hints, triton_helpers, triton_heuristics
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _triton
from triton import knobs
from triton.backends.compiler import GPUTarget

from . import targets

# Nothing from an earlier run, and nothing measured on a device: padding and choices among kernels are.
SETTINGS = {"force_disable_caches": True, "compile_threads": 1, "shape_padding": False}

# The names that PyTorch has for what a description says.
PROPERTIES = {
    "major": "major",
    "minor": "minor",
    "warp_size": "threads_per_warp",
    "total_memory": "device_memory_size",
    "multi_processor_count": "core_count",
    "max_threads_per_block": "threads_per_block_limit",
    "max_threads_per_multi_processor": "threads_per_core_limit",
    "regs_per_multiprocessor": "registers_per_core_limit",
    "shared_memory_per_block": "shared_memory_per_block",
    "shared_memory_per_block_optin": "shared_memory_per_block_optin",
    "shared_memory_per_multiprocessor": "shared_memory_per_core",
    "L2_cache_size": "l2_cache_size",
}


def properties(target: str) -> Any:
    """The device's properties as `torch.cuda.get_device_properties` has them."""
    known = targets.integers(target)
    # Inductor asks for AMD's name of the architecture before it asks whose device it is.
    names = {"name": targets.title(target), "gcnArchName": ""}
    return SimpleNamespace(**names, **{ours: known[field] for ours, field in PROPERTIES.items()})


@contextmanager
def device(target: str, keep: Callable[[str, str], None]) -> Iterator[None]:
    """PyTorch and Triton as they are where the target is the one device; `keep` gets each kernel's name and PTX."""
    # What matches patterns is traced once, on a processor.
    for passes in (joint_graph, post_grad):
        passes.lazy_init()
    _forget()
    with ExitStack() as stack:
        for place, name, value in (*_pytorch(target), *_triton_replaced(target, keep)):
            stack.enter_context(patch.object(place, name, value, create=place is torch._C))
        stack.enter_context(config.patch(SETTINGS))
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    """Drop what PyTorch has remembered of its devices."""
    hints.DeviceProperties.create.cache_clear()
    interfaces.caching_worker_device_properties.clear()
    for function in vars(_triton).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def _pytorch(target: str) -> Iterator[tuple[Any, str, Any]]:
    """The replacements in PyTorch: the place, the name, and what stands there instead."""
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_properties": properties(target),
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }
    for name, answer in answers.items():
        yield torch.cuda, name, _always(answer)
    properties_again = staticmethod(_always(answers["get_device_properties"]))
    yield interfaces.CudaInterface, "get_device_properties", properties_again
    # A build of PyTorch for processors has no such function.
    yield torch._C, "_cuda_getCurrentRawStream", _always(0)
    # Inductor decomposes more for a GPU, and graphs are traced on PyTorch's device without memory.
    yield decomposition, "is_gpu", lambda kind: kind in ("cuda", "meta")
    yield joint_graph, "lazy_init", _always(None)
    yield joint_graph.UniformValueConstantFolder, "_deduce_value", _folded_here
    # The method asks for the device, the operation behind it does not.
    yield FakeTensor, "copy_", lambda self, other, late=False: torch.ops.aten.copy_.default(self, other, late)


def _triton_replaced(target: str, keep: Callable[[str, str], None]) -> Iterator[tuple[Any, str, Any]]:
    """The replacements in Triton, and in Inductor where it hands kernels over."""
    compile_ = triton.compile
    known = properties(target)
    gpu = GPUTarget("cuda", 10 * known.major + known.minor, known.warp_size)

    def compiled(source: Any, **options: Any) -> Any:
        done = compile_(source, **options)
        keep(done.name, done.asm["ptx"])
        return done

    yield triton, "compile", compiled
    # Triton looks for the driver's library before it compiles.
    yield triton.runtime.driver, "_active", SimpleNamespace(get_current_target=_always(gpu))
    yield triton_helpers, "set_driver_to_gpu", _always(None)
    yield knobs.runtime, "add_stages_inspection_hook", _without_assembler
    yield triton_heuristics.CachingAutotuner, "precompile", lambda self, *_, **__: self._precompile_worker()
    yield async_compile.CompiledTritonKernels, "get", _always(None)


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def _without_assembler(*stage: Any) -> tuple[str, str] | None:
    """Triton's hook for changing its stages; without arguments it asks for the change's name."""
    if not stage:
        return "ptx", "ptx"
    stage[1]["cubin"] = lambda ptx, metadata: b""
    return None


_deduce_value = joint_graph.UniformValueConstantFolder._deduce_value


def _folded_here(self: Any, node: Any) -> Any:
    """A constant's value, which Inductor computes: on this processor, whatever device the graph names."""
    options = node.kwargs
    if "device" in options:
        node.kwargs = {**options, "device": torch.device("cpu")}
    try:
        return _deduce_value(self, node)
    finally:
        node.kwargs = options
