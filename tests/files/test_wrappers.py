"""Where training scripts put the weights."""

import numpy as np
import pytest

from parity.weights.files.budget import Budget
from parity.weights.files.wrappers import unwrap


@pytest.mark.parametrize("name", ["state_dict", "model", "state_dict_ema", "model_ema", "ema"])
def test_weights_are_found_beside_what_else_a_script_saves(name):
    tree = {"epoch": 3, name: {"conv.weight": np.ones(2)}}
    arrays, skipped = unwrap(tree, Budget(1 << 20), lambda value: isinstance(value, np.ndarray), lambda value: value)
    assert arrays.keys() == {"conv.weight"}
    assert skipped == ("epoch",)
