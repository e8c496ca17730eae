"""The noise units of honest float32, and of mistakes, on the ports of examples/ports, in Paddle and Flax.

    python benchmarks/noise_ports.py --seeds 20 --framework paddle

For each port and seed: the original's weights and the input drawn anew, the noise measured on PyTorch's side, and the
port's own float32 in eval mode as `parity port` judges it; then the same with the inputs of convolutions and linear
layers rounded to the bits of TF32 and bfloat16 wherever the port computes in float32.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory

PORTS = Path(__file__).parent.parent / "examples" / "ports"
SHAPES = {"convnext": "2,3,16,16", "unet": "2,3,16,16", "vit": "2,3,16,16", "resnet18": "2,3,32,32"}
BITS = {"TF32": 10, "bfloat16": 7}


@contextmanager
def rounded(framework: str, bits: int | None) -> Iterator[None]:
    """Convolutions and linear layers of the framework get inputs of so many bits where those are float32."""
    if bits is None:
        yield
        return
    classes: tuple[Any, ...]
    if framework == "flax":
        import jax
        from flax import nnx

        classes, name = (nnx.Conv, nnx.Linear), "__call__"
        low: Callable[[Any], Any] = lambda x: jax.lax.reduce_precision(x, 8, bits) if x.dtype == np.float32 else x  # noqa: E731
    else:
        import paddle

        classes, name = (paddle.nn.Conv2D, paddle.nn.Linear), "forward"

        def low(x: Any) -> Any:
            if x.dtype != paddle.float32:
                return x
            scale = 2.0**bits
            exponent = 2.0 ** paddle.floor(paddle.log2(x.detach().abs().clip(min=1e-30)))
            near = paddle.round(x.detach() / exponent * scale) / scale * exponent
            return x + (near - x.detach())

    own = {cls: getattr(cls, name) for cls in classes}
    try:
        for cls in classes:
            setattr(cls, name, lambda self, x, call=own[cls]: call(self, low(x)))
        yield
    finally:
        for cls in classes:
            setattr(cls, name, own[cls])


def units(model: str, framework: str, seed: int, bits: int | None) -> dict[str, float]:
    """The noise units of each group of arrays."""
    torch.manual_seed(seed)
    factories = [load_factory(f"{PORTS / f'{model}_{name}.py'}:build") for name in ("torch", framework)]
    with rounded(framework, bits):
        report = port(*factories, from_shapes([SHAPES[model]], seed), modes=["eval"], dtypes=["float32"])
    return {check.what: check.error for check in report.checks if check.unit == "noise units"}


def main() -> None:
    """Measure and print a row for each port."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many draws of weights and inputs each port gets")
    parser.add_argument("--framework", choices=("paddle", "flax"), default="paddle", help="the ports' framework")
    parser.add_argument("--model", default="", help="part of the names of the ports to measure")
    options = parser.parse_args()
    print("| port | outputs | gradients | TF32 | bfloat16 | false alarms |\n|" + "---|" * 6)
    for model in (model for model in SHAPES if options.model in model):
        honest = [units(model, options.framework, seed, None) for seed in range(options.seeds)]
        outputs = [found["outputs"] for found in honest]
        gradients = [value for found in honest for what, value in found.items() if what != "outputs"]
        cells = [f"{min(values):.2g} to {max(values):.2g}" for values in (outputs, gradients)]
        for bits in BITS.values():
            worst = [max(units(model, options.framework, seed, bits).values()) for seed in range(options.seeds)]
            cells.append(f"{min(worst):.3g}")
        over = sum(not max(found.values()) <= 5 for found in honest)
        print(f"| {model}, {options.framework} | {' | '.join(cells)} | {over} of {options.seeds} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
