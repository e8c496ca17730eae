"""`parity export`."""

from pathlib import Path
from typing import Annotated

import typer

from .. import frameworks
from ..errors import ParityError
from ..weights.dialects.networks import identify
from ..weights.export import weights_to_onnx
from ..weights.files import atomic, load


def export(
    weights: Annotated[Path, typer.Argument(help="A checkpoint of any framework and format.")],
    graph: Annotated[Path, typer.Argument(help="The ONNX file to write; - is standard output.")],
    module: Annotated[
        str | None, typer.Option(help="The module as one writes it; an SEResNet is told from its weights.")
    ] = None,
    dialect: Annotated[str | None, typer.Option(help="Whose names are there, as in `parity convert`.")] = None,
    shape: Annotated[str, typer.Option(help="An input's n,c,h,w to trace with; n, h and w stay free.")] = "1,3,224,224",
    fold: Annotated[
        bool, typer.Option("--fold", help="Put batch norms into convolutions, sum ASPP's projection over its branches.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write weights of any framework as an ONNX graph.

    \b
    parity export resnet50.pth resnet50.onnx
    parity export cbam.pdparams cbam.onnx --module 'CBAM(64)' --shape 1,64,56,56
    parity export head.safetensors head.onnx --fold --module 'SE_ASPP(256, 256)' --shape 1,256,33,33
    """
    if not frameworks.installed("onnx"):
        raise ParityError("onnx is not installed; `pip install 'attention-parity[onnx]'` adds it")
    sides = [int(side) if side.strip().isdecimal() else 0 for side in shape.split(",")]
    if len(sides) != 4 or min(sides) < 1:
        raise ParityError(f"--shape must be four positive integers n,c,h,w, got {shape!a}")
    atomic.check_target(graph, force=force)
    arrays = load(weights, dialect=dialect).weights
    try:
        content = weights_to_onnx(arrays, module or identify(arrays).call, sides, fold=fold)
    except (TypeError, ValueError) as error:
        raise ParityError(str(error)) from error
    atomic.write_bytes(graph, content, force=force)
