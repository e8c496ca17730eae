"""Every layer of the table, in every framework that has it: the same function, and every bit there and back."""

import zlib
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_models import LAYERS, build, forward, load

from parity import convert, get_weights, set_weights
from parity.frameworks.kinds import KINDS
from parity.frameworks.telling import tell

LIMIT = 1e-12


def drawn_weights(spec, weights, seed):
    rng = np.random.default_rng(seed)
    return spec.fix({key: rng.standard_normal(array.shape) for key, array in weights.items()})


def drawn_inputs(spec, drawn, seed):
    rng = np.random.default_rng(seed)
    shapes = spec.shape(**drawn)
    if spec.integers:
        return (rng.integers(0, drawn[spec.integers], shapes),)
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    return tuple(rng.standard_normal(shape) for shape in shapes)


def bits(weights):
    return {key: (array.dtype, array.shape, np.ascontiguousarray(array).tobytes()) for key, array in weights.items()}


def check_functions(spec, models, held, weights, drawn, seed):
    """Each model, loaded by its framework's own loader, gives the first one's outputs."""
    for framework, model in models.items():
        load(framework, model, convert(weights, "torch", framework, layers=held[framework].layers))
    inputs = drawn_inputs(spec, drawn, seed)
    outputs = {each: forward(each, spec, model, inputs) for each, model in models.items()}
    expected = next(iter(outputs.values()))
    for framework, (eval_output, train_output) in outputs.items():
        for mode, output, first in (("eval", eval_output, expected[0]), ("train", train_output, expected[1])):
            assert output.shape == first.shape
            error = np.max(np.abs(output - first), initial=0.0)
            assert error <= LIMIT * max(1.0, np.max(np.abs(first), initial=0.0)), (framework, mode, drawn)


def check_bits(models, held, weights):
    """Every ordered pair of frameworks gives every bit back, and so does every model."""
    if "flax" in models:
        # Of two biases Flax has the sum.
        weights = {key: np.zeros_like(array) if "bias_hh" in key else array for key, array in weights.items()}
    native = {each: convert(weights, "torch", each, layers=held[each].layers) for each in models}
    for source, target in permutations(models, 2):
        # Flax's layer is the one that says which of two layouts its kernel has.
        layers = held["flax" if "flax" in (source, target) else source].layers
        there = convert(native[source], source, target, layers=layers)
        assert bits(there) == bits(native[target])
        assert bits(convert(there, target, source, layers=layers)) == bits(native[source])
    for model in models.values():
        set_weights(model, weights)
        assert bits(get_weights(model)) == bits(weights)


@pytest.mark.filterwarnings("ignore:When training, we now always track:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_function_in_every_framework_and_moves_with_every_bit(name):
    spec = LAYERS[name]
    found = []

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(st.fixed_dictionaries(spec.draw))
    def check(drawn):
        found.append(drawn)
        models = {framework: build(framework, spec, drawn) for framework in spec.build}
        held = {framework: get_weights(model) for framework, model in models.items()}
        first = next(iter(held.values()))
        for mine in held.values():
            assert {key: array.shape for key, array in mine.items()} == {key: a.shape for key, a in first.items()}
        seed = zlib.crc32(repr(drawn).encode())
        weights = drawn_weights(spec, first, seed)
        if len(found) <= 2:  # each shape is compiled
            check_functions(spec, models, held, weights, drawn, seed)
        check_bits(models, held, weights)

    check()
    assert found


def kinds_of(spec):
    """The kinds that `get_weights` sees in the layer, of Flax where it has one."""
    framework, found = "flax" if "flax" in spec.build else "torch", set()

    @settings(max_examples=1, deadline=None, derandomize=True, database=None)
    @given(st.fixed_dictionaries(spec.draw))
    def look(drawn):
        found.update(layer.kind for layer in get_weights(build(framework, spec, drawn)).layers.values())

    look()
    return found


def test_every_kind_of_the_table_is_among_the_layers():
    seen = set()

    for spec in LAYERS.values():
        seen |= kinds_of(spec)
    assert KINDS.keys() - seen == set()


@pytest.mark.parametrize("beside", ["n_bias", "n-bias", "na.bias", "n0"])
def test_an_array_whose_name_begins_alike_is_not_of_the_layer(beside):
    norm = {f"n.{name}": (5,) for name in ("weight", "bias", "running_mean", "running_var")}
    assert tell({"n.weight": (5, 4), beside: (5, 4)}, "torch")["n"].kind == "linear"
    assert tell({**norm, beside: (4,)}, "torch")["n"].kind == "norm"
