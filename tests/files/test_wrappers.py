"""The places where training scripts put the weights, and the words that wrappers put into their names."""

import numpy as np
import pytest

import parity
from parity.weights.files.budget import Budget
from parity.weights.files.wrappers import strip, unwrap


def unwrapped(tree, **options):
    return unwrap(tree, Budget(1 << 20), lambda value: isinstance(value, np.ndarray), lambda value: value, **options)


@pytest.mark.parametrize("name", ["state_dict", "model", "state_dict_ema", "model_ema", "ema", "params", "teacher"])
def test_weights_are_found_beside_what_else_a_script_saves(name):
    found = unwrapped({"epoch": 3, "best": np.ones(()), name: {"conv.weight": np.ones(2)}})
    assert found.arrays.keys() == {"conv.weight"}
    assert found.skipped == ("epoch", "best")
    assert found.taken == (name,)


def test_a_key_may_lead_deeper():
    tree = {
        "callbacks": {"EMA": {"shadow": {"conv.weight": np.ones(2)}, "decay": 0.9}},
        "state_dict": {"a": np.ones(1)},
    }
    found = unwrapped(tree, key="callbacks.EMA.shadow")
    assert found.arrays.keys() == {"conv.weight"}
    assert set(found.skipped) == {"state_dict", "callbacks.EMA.decay"}
    for key, named in (("callbacks.SWA", "EMA"), ("state_dict.a.b", "no names")):
        with pytest.raises(parity.ParityError, match=f"there is no '{key}'; there are {named}"):
            unwrapped(tree, key=key)


STRIPPED = {
    "nothing": (["conv.weight", "model.weight"], ["conv.weight", "model.weight"], ()),
    "two words": (["module.model.a.b", "module.model.c"], ["a.b", "c"], ("module", "model")),
    "a word within": (["a._orig_mod.b", "c"], ["a.b", "c"], ("_orig_mod",)),
    "the model's own name last": (["model", "model.weight"], ["model", "model.weight"], ()),
    "a branch that is not all": (["backbone.a", "head.a"], ["backbone.a", "head.a"], ()),
    "a count beside": (["n_averaged", "module.a.b"], ["a.b"], ("module",)),
}


@pytest.mark.parametrize("name", STRIPPED)
def test_words_are_taken_off_where_all_names_have_them(name):
    names, expected, words = STRIPPED[name]
    stripped, found = strip(names)
    assert (list(stripped.values()), found) == (expected, words)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".pdparams", ".msgpack", ".orbax"])
def test_names_that_only_look_wrapped_stay(suffix, tmp_path):
    """`load` gives what `save` was given, a model's own child named `model` too."""
    weights = {"model.module.bias": np.ones(2, np.float32), "model.backbone.bias": np.zeros(1, np.float32)}
    parity.save(weights, tmp_path / f"x{suffix}", metadata={"a": "b"})
    found = parity.load(tmp_path / f"x{suffix}")
    assert found.weights.keys() == weights.keys()
    assert (found.wrappers, found.metadata) == ((), {"a": "b"})
