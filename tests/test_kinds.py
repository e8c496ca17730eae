"""Every layer of the table, in every framework that has it: the same function, and every bit there and back."""

import zlib
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_models import LAYERS, build, forward, load

from parity import convert, get_weights, set_weights

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


@pytest.mark.filterwarnings("ignore:When training, we now always track:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_function_in_every_framework(name):
    spec = LAYERS[name]
    found = False

    @settings(max_examples=2, deadline=None, derandomize=True, database=None)
    @given(st.fixed_dictionaries(spec.draw))
    def check(drawn):
        nonlocal found
        found = True
        models = {framework: build(framework, spec, drawn) for framework in spec.build}
        first, *_ = models
        held = get_weights(models[first])
        seed = zlib.crc32(repr(drawn).encode())
        weights = drawn_weights(spec, held, seed)
        for framework, model in models.items():
            mine = get_weights(model)
            assert {key: array.shape for key, array in mine.items()} == {key: a.shape for key, a in held.items()}
            load(framework, model, convert(weights, "torch", framework, layers=mine.layers))
        inputs = drawn_inputs(spec, drawn, seed)
        for train in (False, True):
            outputs = {each: forward(each, spec, model, inputs, train) for each, model in models.items()}
            for framework, output in outputs.items():
                assert output.shape == outputs[first].shape
                error = np.max(np.abs(output - outputs[first]), initial=0.0)
                assert error <= LIMIT * max(1.0, np.max(np.abs(outputs[first]), initial=0.0)), (framework, train, drawn)

    check()
    assert found


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_goes_there_and_back_with_every_bit(name):
    spec = LAYERS[name]

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(st.fixed_dictionaries(spec.draw))
    def check(drawn):
        models = {framework: build(framework, spec, drawn) for framework in spec.build}
        held = {framework: get_weights(model) for framework, model in models.items()}
        first, *_ = models
        weights = drawn_weights(spec, held[first], zlib.crc32(repr(drawn).encode()))
        if "flax" in models:
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

    check()
