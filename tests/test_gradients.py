"""Gradients: the tape against differences, the tie rules, the golden gradients, and faults that are seen."""

from dataclasses import replace

import numpy as np
import pytest
from golden_vectors import GOLDEN, canonical, read

from parity import set_weights
from parity.catalogue.cases import CASES, select
from parity.catalogue.inputs import default_image, read_image
from parity.errors import ParityError
from parity.frameworks.layout import convert
from parity.reference import modules as reference
from parity.reference.arithmetic import Exact
from parity.runs.run import draw
from parity.verdict.expect import expect
from parity.verdict.gradient_check import check_gradients
from parity.verdict.judge import judge

IMAGE = read_image(default_image())
SMALL = [case for case in CASES if not case.heavy and np.prod(case.shape) < 8000 and case.module != "SEResNet"]


def gradients(framework, model, x, cotangent, train):
    found = framework.gradients(model, x, cotangent, train=train)
    return {"input": found.pop("input"), **convert(found, framework.NAME, "torch")}


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_the_tape_is_the_derivative_of_the_forward_pass(case):
    for mode in case.modes:
        expect(case, draw(case, IMAGE, 1), "float64", ("gradients",), train=mode == "train")


@pytest.mark.parametrize("key", ["input", "channel.fc1.weight", "spatial.norm.weight"])
def test_a_wrong_gradient_of_the_reference_is_seen_by_the_witness(key):
    case = select(["CBAM/norm"])[0]
    drawn, model = draw(case, IMAGE, 0), reference.CBAM(*case.args, **case.kwargs)
    found = expect(case, drawn, "float64", ("gradients",), train=True)["gradients"].arrays
    check_gradients(case, model, drawn, found, train=True)
    with pytest.raises(ParityError, match=r"CBAM/norm: the reference's gradient along a direction"):
        check_gradients(case, model, drawn, {**found, key: 1.01 * found[key]}, train=True)


def pull(operation, x, cotangent):
    ops = Exact()
    ops.start()
    y = operation(ops, x)
    return ops.gradients(y, np.broadcast_to(np.asarray(cotangent, float), y.shape), {"x": x})["x"]


def test_the_first_of_equals_and_kinks_have_the_derivative_that_all_three_frameworks_take():
    x = np.array([[2.0, 1, 2, 2]])
    assert np.array_equal(pull(lambda ops, x: ops.amax(x, 1), x, 3.0), [[3, 0, 0, 0]])
    assert np.array_equal(pull(lambda ops, x: ops.relu(x), np.array([-1.0, 0, 1]), 1), [0, 0, 1])
    assert np.array_equal(pull(lambda ops, x: ops.clip(x, 0, 1), np.array([-1.0, 0, 1, 2]), 1), [0, 1, 1, 0])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("golden", [g for g in GOLDEN if g.module != "BasicBlock"], ids=lambda g: g.file)
def test_the_golden_gradients_hold(framework, golden, mode):
    arrays, origin = read(golden)
    weights = canonical(golden, arrays, "state/", origin)
    for key in golden.zero_bias:
        weights[key] = np.zeros(len(weights[key.replace("bias", "weight")]))
    model = framework.build(golden.module, golden.args, golden.kwargs)
    set_weights(model, weights)
    x, cotangent = arrays["input"], arrays["cotangent"]
    if golden.scale:
        # These give the map alone: the sum of x * map * cotangent / x is their loss, but for the input's own gradient.
        cotangent = np.broadcast_to(cotangent * cotangent.size / x.size, x.shape) / x
    found = gradients(framework, model, x, cotangent, mode == "train")
    truth = canonical(golden, arrays, f"{mode}/grad/", origin)
    if not golden.scale:
        truth["input"] = arrays[f"{mode}/grad_input"]
    largest = max(np.abs(array).max() for array in truth.values())
    limit = max(1e-9, 30 * golden.quirk)
    for key, array in truth.items():
        # A bias in front of a train-mode batch norm has the gradient zero.
        scale = np.abs(array).max() if np.abs(array).max() > 1e-12 * largest else largest
        assert np.abs(found[key] - array).max() <= limit * scale, key


FAULTS = {
    "NaN": (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.nan, a), "holds 1 NaN"),
    "a permutation": (lambda a: a[::-1].copy(), "is off by"),
    "one wrong element": (
        lambda a: a + 0.5 * np.abs(a).max() * (np.arange(a.size).reshape(a.shape) == 3),
        "is off by",
    ),
    "a broadcastable shape": (lambda a: a[:1], "must have shape"),
    "another dtype": (lambda a: a.astype(np.float16), "must be"),
    "missing": (lambda a: None, "missing input"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_a_gradient_is_named(fault, dtype):
    case = select(["SE/square"])[0]
    expected = expect(case, draw(case, IMAGE, 0), dtype, ("gradients",), train=False)["gradients"]
    honest = {key: array.astype(dtype) for key, array in expected.arrays.items()}
    assert judge(honest, expected.arrays, dtype, expected.noise).passed
    change, words = FAULTS[fault]
    spoilt = change(expected.arrays["input"])
    planted = {key: array for key, array in honest.items() if key != "input"}
    if spoilt is not None:
        planted["input"] = spoilt if fault == "another dtype" else spoilt.astype(dtype)
    verdict = judge(planted, expected.arrays, dtype, expected.noise)
    assert not verdict.passed
    assert words in verdict.why


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_that_is_zero_by_construction_is_judged_by_the_noise_of_its_terms(dtype):
    case = select(["SE_ASPP/small-map"])[0]
    expected = expect(case, draw(case, IMAGE, 0), dtype, ("gradients",), train=True)["gradients"]
    key = "branches.1.conv.bias"
    truth, noise = {key: expected.arrays[key]}, expected.noise
    assert np.abs(truth[key]).max() < 1e-12
    for factor, passes in ((2, True), (20, False)):
        wrong = {key: np.full(truth[key].shape, factor * noise[key].rms, dtype)}
        assert judge(wrong, truth, dtype, noise).passed is passes


def test_the_check_does_not_hang_on_the_order_of_the_weights():
    case = select(["SE/1x1"])[0]
    drawn = draw(case, IMAGE, 0)
    drawn = replace(drawn, weights=dict(sorted(drawn.weights.items(), reverse=True)))
    assert expect(case, drawn, "float64", ("gradients",), train=False)["gradients"].arrays.keys() > {"input"}
