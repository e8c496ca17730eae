"""Weights of any framework as an ONNX graph."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ParityError
from ..frameworks.onnx_graph import to_onnx


def weights_to_onnx(weights: Mapping[str, np.ndarray], call: str, shape: Sequence[int], *, fold: bool = False) -> bytes:
    """Canonical weights, from whichever framework, as the ONNX graph of the module that `call` makes.

    Args:
        weights: as `get_weights` gives them.
        call: the module as one writes it, `SEResNet(18, num_classes=10)`; its arguments are literals.
        shape: an input's (n, c, h, w).
        fold: Whether batch norms become part of the convolutions, and ASPP's projection a sum over its branches.

    Raises:
        ParityError: for a call that is no module's, and for weights that do not fit.
        ValueError: for arguments out of range.
    """
    from ..frameworks import torch
    from .models import set_weights

    model = torch.build(*parse_call(call))
    set_weights(model, {key: array.astype(np.float32) for key, array in weights.items()})
    return to_onnx(torch.torch_impl.fold(model) if fold else model, shape)


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
