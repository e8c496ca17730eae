"""`parity export`."""

from pathlib import Path
from typing import Annotated

import typer
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .. import frameworks
from ..errors import ParityError
from ..export import weights_to_onnx
from .options import check_writable


def export(
    weights: Annotated[Path, typer.Argument(help="Canonical weights, a safetensors file.")],
    graph: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    module: Annotated[str, typer.Option(help="The module as one writes it: 'SEResNet(18, num_classes=10)'.")],
    shape: Annotated[str, typer.Option(help="An input's n,c,h,w to trace with; n, h and w stay free.")] = "1,3,224,224",
) -> None:
    """Write weights, from whichever framework they come, as an ONNX graph.

    \b
    parity export trained.safetensors model.onnx --module 'SEResNet(50, num_classes=10)'
    """
    if not frameworks.installed("onnx"):
        raise ParityError("onnx is not installed; `pip install 'attention-parity[onnx]'` adds it")
    sides = [int(side) if side.strip().isdecimal() else 0 for side in shape.split(",")]
    if len(sides) != 4 or min(sides) < 1:
        raise ParityError(f"--shape must be four positive integers n,c,h,w, got {shape!a}")
    check_writable(graph)
    try:
        arrays = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ParityError(f"{weights} cannot be read as safetensors: {error}") from None
    try:
        content = weights_to_onnx(arrays, module, sides)
    except (TypeError, ValueError) as error:
        raise ParityError(str(error)) from error
    graph.write_bytes(content)
