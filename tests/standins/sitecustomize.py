"""Stand-ins for GPUs in the workers: each framework is told of two, and what goes to them stays on the processor.

PARITY_STANDINS is FRAMEWORK:SCENARIO for each framework, with commas. Scenarios: `whole`, two sound devices; `full`, one
array does not fit; `lost`, the device fails at one array and at all that come after; `dead`, the process is ended by the
driver; `no-float64`, a device of Apple's kind; `tf32`, products rounded as tensor cores do. Only the framework's own
module of devices is replaced, and where an array goes; what the adapters and workers do with it is what is rehearsed.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

# The input of CBAM/default, (3, 32, 9, 11), which is where a device goes wrong.
FATAL = 3 * 32 * 9 * 11
MEMORY = 80 << 30
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 38.00 KiB. GPU 0 has a total capacity of 79.10 GiB"
LOST = "INTERNAL: CUDA error: Failed to launch kernel: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"


def properties(index):
    return SimpleNamespace(name=f"Stand-in {index}", total_memory=MEMORY)


class Trouble:
    """The reaction of a device to an array that is put on it."""

    def __init__(self, scenario, full, lost):
        self.scenario, self.full, self.lost, self.gone = scenario, full, lost, False

    def meet(self, size):
        self.gone = self.gone or (self.scenario == "lost" and size == FATAL)
        if self.gone:
            raise self.lost(LOST)
        if self.scenario == "full" and size == FATAL:
            raise self.full(OUT_OF_MEMORY)
        if self.scenario == "dead" and size == FATAL:
            os.abort()


def stand_in_torch(scenario):
    import torch

    trouble, plain = Trouble(scenario, torch.OutOfMemoryError, RuntimeError), torch.Tensor.to

    def to(tensor, *places, **options):
        device = next((place for place in places if isinstance(place, torch.device)), None)
        if device is None or device.type == "cpu":
            return plain(tensor, *places, **options)
        if scenario == "no-float64" and tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        trouble.meet(tensor.numel())
        rest = [place for place in places if place is not device and place is not None and place is not False]
        return plain(tensor, *rest) if rest else tensor

    torch.Tensor.to = to
    if scenario == "no-float64":
        torch.backends.mps.is_available = lambda: True
        torch.mps.recommended_max_memory = lambda: MEMORY
        return
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
    torch.cuda.get_device_properties = lambda device: properties(device.index)
    torch.version.cuda = "13.0"


def stand_in_paddle(scenario):
    import paddle

    trouble, plain = Trouble(scenario, MemoryError, OSError), paddle.to_tensor

    def to_tensor(array, *rest, **options):
        trouble.meet(getattr(array, "size", 0))
        return plain(array, *rest, **options)

    paddle.to_tensor, paddle.set_device = to_tensor, lambda device: None
    paddle.is_compiled_with_cuda, paddle.device.cuda.device_count = lambda: True, lambda: 2
    paddle.device.cuda.get_device_properties = properties
    paddle.version.cuda, paddle.version.cudnn = lambda: "12.6", lambda: "9.5.1"


def stand_in_flax(scenario):
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
    import jax

    trouble, plain = Trouble(scenario, jax.errors.JaxRuntimeError, jax.errors.JaxRuntimeError), jax.device_put
    real, update = jax.devices("cpu"), jax.config.update

    class Device:
        platform, device_kind, compute_capability = "gpu", "Stand-in", "9.0"
        client = SimpleNamespace(platform_version="PJRT C API\ncuda 13000")

        def __init__(self, index):
            self.id = index

        def memory_stats(self):
            return {"bytes_limit": MEMORY}

    def device_put(array, *rest, **options):
        trouble.meet(getattr(array, "size", 0))
        return plain(array, *rest, **options)

    gpus = [Device(0), Device(1)]
    jax.device_put = device_put
    jax.devices = lambda kind=None: gpus if kind is None else real
    jax.config.update = lambda name, value: update(name, real[value.id] if isinstance(value, Device) else value)


def lowered(framework):
    """The products of `tests/lowered`."""
    path = Path(__file__).parent.parent / "lowered" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("lowered", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.lower(framework, "tf32", "forward", "conv")


if "parity.workers.worker" in sys.orig_argv:
    name = sys.orig_argv[-2]
    scenario = dict(part.split(":") for part in os.environ["PARITY_STANDINS"].split(",")).get(name, "")
    # The adapter would not look for a GPU if it were held to the processor.
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    assert "JAX_PLATFORMS" not in os.environ
    {"torch": stand_in_torch, "paddle": stand_in_paddle, "flax": stand_in_flax}[name](scenario)
    if scenario == "tf32":
        lowered(name)
