"""The cases at the sizes that people use: when they run, and how many draws of the noise they take."""

from dataclasses import replace

import numpy as np
import pytest

from parity.catalogue.cases import CASES, EVERY, REAL_SIZES, select
from parity.catalogue.inputs import default_image, read_image
from parity.errors import ParityError
from parity.reference.arithmetic import Exact, Remembering
from parity.reference.evaluate import build, evaluate
from parity.runs.run import draw, run
from parity.verdict import expect
from parity.verdict.judge import Noise, judge

IMAGE = read_image(default_image())
SMALL = replace(REAL_SIZES[1], args=(16,), kwargs={"reduction": 4}, shape=(2, 16, 9, 7))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*/real-size"], ["SE/real-size", "CBAM/real-size", "SE_ASPP/real-size", "SEResNet/real-size"]),
        (["SE/real-size"], ["SE/real-size"]),
        (["CBAM/1x1", "CBAM/real-size"], ["CBAM/1x1", "CBAM/real-size"]),
    ],
)
def test_a_pattern_that_ends_in_their_label_names_them(patterns, names):
    assert [case.name for case in select(patterns)] == names


@pytest.mark.parametrize("patterns", [[], ["*"], ["SE/*"], ["SE*", "CBAM/*l*"]])
def test_nothing_else_does(patterns):
    assert not any(case.is_real_size for case in select(patterns, heavy=True))
    with pytest.raises(ParityError, match="no case matches"):
        select(["ASPP/real-size"])
    assert [case.is_real_size for case in EVERY] == [False] * len(CASES) + [True] * len(REAL_SIZES)


def test_each_framework_gives_the_same_by_noise_of_few_draws(monkeypatch):
    counts = []
    measure = expect.uncertainty
    monkeypatch.setattr(expect, "uncertainty", lambda draws: counts.append(len(draws)) or measure(draws))
    report = run([SMALL], ["torch"], ["float32", "bfloat16"], IMAGE, checks=["forward", "gradients"])
    assert report.passed, [result.why for result in report.results]
    assert len([result for result in report.results if result.judged]) >= 3
    assert min(counts) == expect.FEWEST


def test_the_draws_end_where_every_unit_is_sure(monkeypatch):
    drawn, many = draw(SMALL, IMAGE, 0), replace(SMALL, label="all-draws")
    few, all_draws = (
        expect.expect(case, drawn, "float32", ("forward", "gradients"), train=False) for case in (SMALL, many)
    )
    for check, expected in few.items():
        for key, noise in expected.noise.items():
            assert noise.rms == pytest.approx(all_draws[check].noise[key].rms, rel=4 * expect.SURE), key
    taken = []
    monkeypatch.setattr(expect, "noise_of", lambda *_: taken.append(1) or {"": {"a": Noise(next(sizes), 1.0)}})
    for given, wanted in [([1.0] * 9, 3), ([1, 2, 4, 1, 3, 1, 2, 2, 1, 1, 4, 1, 1, 1, 1, 1], None)]:
        sizes = iter(given)
        taken.clear()
        expect.measure_noise({"": {"a": np.ones(1)}}, "float32", lambda _: {}, len(given), sure=expect.SURE)
        assert len(taken) == wanted if wanted else expect.FEWEST < len(taken) < len(given)


def test_a_relu_that_rounding_decides_is_in_the_noise_of_its_layer_alone():
    case = replace(REAL_SIZES[2], args=(4, 6), kwargs={"rates": (2, 3)}, shape=(2, 4, 9, 8), modes=("eval",))
    drawn, model, key = draw(case, IMAGE, 0), build(case), "branches.1.norm.bias"
    evaluate(model, drawn, inputs := Remembering(), ("forward",), train=False)
    # One input of a ReLU of the second branch is put onto its kink, and then just below and above it.
    bias = drawn.weights[key].astype(np.float64)
    bias[3] -= inputs.kinks[1][0, 3, 4, 4]

    def run(ops, offset=-3e-7):
        moved = bias + offset * (np.arange(6) == 3)
        there = replace(drawn, weights={**drawn.weights, key: moved})
        return evaluate(model, there, ops, ("gradients",), train=False)

    shut, opened = run(exact := Remembering()), run(Exact(), 3e-7)["gradients"]
    opened = {name: array.astype(np.float32) for name, array in opened.items()}
    plain, noise = (
        expect.measure_noise(shut, "float32", run, 3, kinks=kinks)["gradients"] for kinks in ((), exact.kinks)
    )
    for verdict, sizes in ((False, plain), (True, noise)):
        assert judge(opened, shut["gradients"], "float32", sizes).passed is verdict
    for branch, most in ((0, 2), (1, np.inf)):
        name = f"branches.{branch}.conv.weight"
        assert (noise[name].peak > 100 * plain[name].peak) == (branch == 1)
        assert noise[name].peak < most * plain[name].peak


@pytest.mark.parametrize(("case", "dtype", "more"), [(SMALL, "float32", 1), (SMALL, "float16", 0)])
def test_the_draw_that_turns_relus_is_made_where_few_are_turned(case, dtype, more, monkeypatch):
    taken, measure = [], expect.noise_of
    monkeypatch.setattr(expect, "noise_of", lambda *given: taken.append(1) or measure(*given))
    monkeypatch.setattr(expect, "uncertainty", lambda _: 0.0)
    expect.expect(case, draw(case, IMAGE, 0), dtype, ("gradients",), train=False)
    assert len(taken) == expect.FEWEST + more


def test_a_pass_leaves_no_tape_behind():
    ops = Exact()
    evaluate(build(SMALL), draw(SMALL, IMAGE, 0), ops, ("forward", "gradients"), train=False)
    assert ops.steps is None


def test_the_gradients_of_the_reference_are_checked_in_the_small_cases_alone(monkeypatch):
    checked = []
    monkeypatch.setattr(expect, "check_gradients", lambda case, *_, **__: checked.append(case.label))
    for case in (SMALL, replace(SMALL, label="small")):
        expect.expect(case, draw(case, IMAGE, 0), "float64", ("gradients",), train=False)
    assert checked == ["small"]


def test_the_other_cases_take_every_draw(monkeypatch):
    taken, measure = [], expect.noise_of
    monkeypatch.setattr(expect, "noise_of", lambda *given: taken.append(1) or measure(*given))
    case = select(["SE/1x1"])[0]
    expect.expect(case, draw(case, IMAGE, 0), "float32", ("forward",), train=False)
    assert len(taken) == expect.DRAWS["float32"]
    taken.clear()
    expect.expect(replace(case, draws=5), draw(case, IMAGE, 0), "float32", ("forward",), train=False)
    assert len(taken) == 5
