"""ONNX graphs of torch_impl's modules."""

import ast
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParityError

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
    with warnings.catch_warnings():
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


def weights_to_onnx(weights: Mapping[str, np.ndarray], call: str, shape: Sequence[int]) -> bytes:
    """Canonical weights, from whichever framework, as the ONNX graph of the module that `call` makes.

    Args:
        weights: as `get_weights` gives them.
        call: the module as one writes it, `SEResNet(18, num_classes=10)`; its arguments are literals.
        shape: an input's (n, c, h, w).

    Raises:
        ParityError: for a call that is no module's, and for weights that do not fit.
        ValueError: for arguments out of range.
    """
    from ..frameworks import torch
    from .models import set_weights

    model = torch.build(*parse_call(call))
    set_weights(model, {key: array.astype(np.float32) for key, array in weights.items()})
    return to_onnx(model, shape)


def parse_call(call: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """The module, arguments and keyword arguments of a call as `parity list` writes it."""
    from ..catalogue import cases

    known = dict.fromkeys(case.module for case in cases.CASES)
    try:
        node = ast.parse(call.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise ValueError(call)
        args = tuple(ast.literal_eval(argument) for argument in node.args)
        kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ParityError(f"a module must be written as SEResNet(18, num_classes=10), got {call!a}") from None
    if node.func.id not in known:
        raise ParityError(f"the module must be one of {', '.join(known)}, got {node.func.id!a}")
    return node.func.id, args, kwargs
