"""ONNX graphs of torch_impl's modules."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


OPSET = 18


def to_onnx(model: "nn.Module", shape: Sequence[int]) -> bytes:
    """A module of torch_impl in eval mode as an ONNX graph from `x` (n, c, h, w) to `y`, for any n, h and w; checked.

    Args:
        model: the module, in float32; it is left in the mode that it was in.
        shape: an input's (n, c, h, w), to trace the module with.

    Raises:
        onnx.checker.ValidationError: where the graph is no ONNX.
    """
    import onnx
    import torch

    file = io.BytesIO()
    sides = {0: "n", 2: "h", 3: "w"}
    x = torch.zeros(*shape, device=next(model.parameters()).device)
    training = model.training
    model.eval()
    # Where no gradient is wanted a maximum is a plain one, without an index to keep.
    with torch.no_grad(), warnings.catch_warnings():
        # It warns that the checks of shapes stay out of the graph, and of the exporter that is to replace this one,
        # which takes ten times as long for the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x,),
            file,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": sides, "y": sides if model(x).ndim == 4 else {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model.train(training)
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    return file.getvalue()
