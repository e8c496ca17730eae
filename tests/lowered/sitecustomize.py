"""On a worker's path this lowers its float32 products as a GPU would: PARITY_LOWER is FRAMEWORK:tf32|bfloat16:PASS:OP.

PASS is forward or backward, OP conv or matmul. Only the products' factors are rounded; nothing else is replaced.
"""

import os
import sys
from importlib import import_module

BITS = {"tf32": 13, "bfloat16": 16}
PLACES = {
    ("torch", "conv"): ("torch.nn.functional", "conv2d"),
    ("torch", "matmul"): ("torch", "matmul"),
    ("paddle", "conv"): ("paddle.nn.functional", "conv2d"),
    ("paddle", "matmul"): ("paddle", "matmul"),
    ("flax", "conv"): ("jax.lax", "conv_general_dilated"),
    ("flax", "matmul"): ("jax.numpy", "matmul"),
}


def lower(framework, precision, when, op):
    module, name = PLACES[framework, op]
    home = import_module(module)
    plain = getattr(home, name)
    stop = import_module("jax.lax").stop_gradient if framework == "flax" else lambda x: x.detach()

    def rounded(x):
        """x without its last bits, by Veltkamp's splitting; its gradient is that of x."""
        scaled = stop(x) * float(2 ** BITS[precision] + 1)
        return x + (scaled - (scaled - stop(x)) - stop(x))

    def lowered(a, b, *rest, **options):
        exact = plain(a, b, *rest, **options)
        if "float32" not in str(a.dtype):
            return exact
        low = plain(rounded(a), rounded(b), *rest, **options)
        value, slope = (low, exact) if when == "forward" else (exact, low)
        return slope + stop(value - slope)

    setattr(home, name, lowered)


wanted = os.environ.get("PARITY_LOWER", "").split(":")
if "parity.workers.worker" in sys.orig_argv and wanted[0] in sys.orig_argv:
    lower(*wanted)
