"""Functions that a GPU only approximates: their documented errors are in its noise, and not in a CPU's."""

from dataclasses import replace

import numpy as np
import pytest

from parity.catalogue.cases import select
from parity.catalogue.inputs import default_image, read_image
from parity.reference.arithmetic import UNIT_ROUNDOFF, Exact, Noisy
from parity.reference.functions import ULPS, kind_of, kinds_of, largest_errors
from parity.runs.run import draw, run
from parity.verdict.expect import measure_noise
from parity.verdict.expect_all import expect_case
from parity.verdict.judge import judge
from parity.workers import pool
from parity.workers.backend import Backend

IMAGE = read_image(default_image())
# Gates that are nearly shut, so that the error of the exponential is the gate's.
X = (np.random.default_rng(0).standard_normal((4, 64, 8, 8), np.float32) / 4 - 9).astype(np.float64)
U = UNIT_ROUNDOFF["float32"]


def units_of(computed, kind):
    """The error of a float32 sigmoid in noise units of that kind of device."""
    truth = Exact().sigmoid(X)
    noise = measure_noise({"": {"y": truth}}, "float32", lambda ops: {"": {"y": ops.sigmoid(X)}}, 16, functions=kind)
    return judge({"y": computed}, {"y": truth}, "float32", noise[""])


def approximate(exponential, reciprocal):
    """1 / (1 + exp(-x)) in float32 with functions that are off by so many unit roundoffs, and then rounded."""
    e = (np.exp(-X) * (1 + exponential * U)).astype(np.float32)
    total = np.float32(1) + e
    return (1 / total.astype(np.float64) * (1 + reciprocal * U)).astype(np.float32)


def drawn(most):
    return np.random.default_rng(1).uniform(-most, most, X.shape)


@pytest.mark.parametrize(
    ("exponential", "reciprocal", "cpu", "cuda"),
    [
        (0, 0, True, True),
        (drawn(4), drawn(2), True, True),  # 2 and 1 units in the last place, the next rounding comes on top
        (4, -2, False, True),  # and always the same way
        (-4, 2, False, True),
        (drawn(60), 0, False, False),
        (0, 40, False, False),
    ],
)
def test_an_approximate_sigmoid_is_honest_on_the_device_that_documents_it(exponential, reciprocal, cpu, cuda):
    computed = approximate(exponential, reciprocal)
    on_cpu, on_cuda = (units_of(computed, kind) for kind in ("", "cuda"))
    assert (on_cpu.passed, on_cuda.passed) == (cpu, cuda), (on_cpu, on_cuda)
    assert on_cpu.error > 2 * on_cuda.error


@pytest.mark.parametrize("function", sorted(ULPS["cuda"]))
def test_each_function_errs_up_to_its_bound_and_no_further(function):
    ops = Noisy(U, np.random.default_rng(0), functions=largest_errors("cuda"))
    relative = np.abs(ops.rounded(np.ones(10_000), function) - 1)
    bound = (2 * ULPS["cuda"][function] + 1) * U
    assert 0.99 * bound < relative.max() <= bound
    assert not (ops.rounded(np.ones(100)) - 1).any()


def test_each_function_is_used():
    class Heard(Exact):
        def rounded(self, y, function=""):
            heard.add(function)
            return y

    heard = set()
    ops, x = Heard(), np.random.default_rng(0).uniform(1, 2, (2, 3, 4, 5))
    ops.start()
    y = ops.div(ops.sigmoid(x), ops.sqrt(x))
    ops.gradients(ops.cross_entropy(y, np.zeros((2, 4, 5), int)), np.ones((1, 1, 1, 1)), {"x": x})
    assert heard == {"", *ULPS["cuda"]}


def test_nothing_of_it_is_in_the_noise_of_a_cpu():
    case = select(["CBAM/norm"])[0]
    drawn = draw(case, IMAGE, 0)
    on_cpu, anywhere = (
        expect_case(case, drawn, ["float32", "float16"], ["forward", "batch"], devices=devices)
        for devices in (["cpu"], ["gpu", "cpu"])
    )
    assert {key.functions for key in on_cpu} == {""}
    assert {(key.dtype, key.functions) for key in anywhere} == {("float32", ""), ("float32", "cuda"), ("float16", "")}
    for key, expected in on_cpu.items():
        assert anywhere[key].noise == expected.noise
        if key.dtype == "float32":
            other = anywhere[key._replace(functions="cuda")]
            name = "alone" if key.check == "batch" else "output"
            assert 1.05 < other.noise[name].rms / expected.noise[name].rms < 5
            assert all(np.array_equal(other.arrays[name], array) for name, array in expected.arrays.items())


@pytest.mark.parametrize(
    ("device", "dtype", "kind", "kinds"),
    [
        ("cpu", "float32", "", [""]),
        ("cuda:1", "float32", "cuda", ["", "cuda"]),
        ("cuda:1", "float64", "", ["", "cuda"]),
        ("cuda:0", "bfloat16", "", ["", "cuda"]),
        ("gpu:1", "float32", "", ["", "cuda"]),
        ("auto", "float32", "", ["", "cuda"]),
        ("mps:0", "float32", "", [""]),
    ],
)
def test_which_kind_a_device_is_of(device, dtype, kind, kinds):
    assert kind_of(device, dtype) == kind
    assert kinds_of([device]) == kinds


def test_a_run_takes_the_noise_of_the_device_that_was_found():
    found = []

    def compute(backends, arrays, jobs, **options):
        """Compute on this processor, and say that it was a GPU where a GPU was asked for."""
        on_gpu = backends[0].device == "gpu"
        found.extend(pool.compute([Backend("torch")], arrays, jobs) if not found else ())
        for _ in options["meanwhile"]:
            pass
        device = {"id": "cuda:0" if on_gpu else "cpu"}
        return [replace(outcome, facts={**outcome.facts, "device": device}) for outcome in found]

    errors = {}
    for device in ("cpu", "gpu"):
        backends = {"torch": Backend("torch", device)}
        report = run(
            select(["SE/default"]), ["torch"], ["float64", "float32"], IMAGE, backends=backends, compute=compute
        )
        errors[device] = {(row.dtype, row.check): row.error for row in report.results}
    for key, error in errors["cpu"].items():
        if key[0] == "float64":
            assert errors["gpu"][key] == error
        else:
            assert 0 < errors["gpu"][key] < 0.95 * error
