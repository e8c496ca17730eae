"""Training, precisions, compiled executions and mutants, end to end, on few and small cases."""

import numpy as np
import pytest
import torch

import flax_impl
from flax_impl.se_resnet import PLACEMENTS
from parity import frameworks, set_weights
from parity.catalogue.cases import CASES, select
from parity.catalogue.inputs import default_image, read_image
from parity.catalogue.mutants import MUTANTS
from parity.catalogue.recipes import OPTIMIZERS, RECIPES
from parity.catalogue.tasks import Task, list_tasks
from parity.catalogue.unsupported import UNSUPPORTED, is_unsupported
from parity.frameworks import EXECUTIONS, FRAMEWORKS, TABLE, flax
from parity.frameworks.layout import convert
from parity.runs.mutation_test import run_mutants
from parity.runs.run import draw, run
from parity.verdict import judge as compare
from parity.verdict.expect import expect
from parity.workers.mutation import mutate, read_mutated, source_file

IMAGE = read_image(default_image())


@pytest.fixture(scope="module")
def trained():
    return run(select(["SE_ASPP/training"]), FRAMEWORKS, ["float64", "float32"], IMAGE, checks=["training"]).results


def test_ten_steps_agree_in_float64_and_drift_no_further_than_torch_in_float32(trained):
    judged = [result for result in trained if result.verdict == "same"]
    assert {result.verdict for result in trained} == {"same", "undetermined"}
    for framework in FRAMEWORKS:
        for dtype, checks in (("float64", ("training",)), ("float32", ("training", "steps"))):
            found = {r.check for r in judged if (r.framework, r.dtype) == (framework, dtype)}
            assert found == {f"{check} {recipe}" for check in checks for recipe in RECIPES}


def test_sgd_with_momentum_agrees_to_1e_11(trained):
    errors = [r.error for r in trained if r.dtype == "float64" and r.check == "training momentum mse"]
    assert len(errors) == len(FRAMEWORKS)
    assert max(errors) <= 1e-11


def test_only_what_adam_does_to_a_zero_gradient_is_undetermined(trained):
    for result in trained:
        if result.verdict == "undetermined":
            assert "adamw" in result.check
            names = result.why.partition(":")[0].split(", ")
            assert all(name.endswith(("conv.bias", "norm.running_mean")) for name in names)


def test_every_hyper_parameter_is_one_that_float32_holds():
    for options in OPTIMIZERS.values():
        assert all(float(np.float32(value)) == value for value in options.values())


def test_drift_sees_a_step_too_few():
    rng = np.random.default_rng(0)
    truth = {"w": rng.standard_normal(100)}
    noise = {"w": compare.Noise(1e-6, 3e-6)}
    near = {"w": (truth["w"] + 1e-6 * rng.standard_normal(100)).astype(np.float32)}
    assert compare.judge_drift(near, truth, "float32", noise, near).passed
    for fault in (1e-5, np.nan):
        assert not compare.judge_drift({"w": near["w"] + np.float32(fault)}, truth, "float32", noise, near).passed
    assert "missing w" in compare.judge_drift({}, truth, "float32", noise, near).why


def test_half_precision_is_compared_where_there_are_kernels_and_said_where_there_are_none():
    cases = select(["SE/square", "SpatialAttention/norm", "ASPP/one-rate", "Bottleneck/conv"])
    report = run(cases, FRAMEWORKS, ["bfloat16", "float16"], IMAGE, checks=["forward", "gradients"])
    assert report.passed
    for result in report.results:
        if result.framework == "paddle":
            assert result.verdict == "unsupported"
            kernel = "conv2d" if result.case.startswith("Bottleneck") else "mean"
            assert f"kernel `{kernel}` is not registered" in result.why
        else:
            assert result.verdict in ("same", "undetermined")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_paddle_s_programs_refuse_half_precision_on_a_processor(dtype):
    cases = select(["SE/default", "SpatialAttention/norm"])
    report = run(cases, ["paddle"], [dtype], IMAGE, checks=["forward"], executions=["paddle.jit.to_static"])
    assert {result.verdict for result in report.results} == {"unsupported"}
    assert {result.why for result in report.results} == {
        "TypeError: Paddle runs no program in half precision on a processor"
    }


def test_another_error_is_not_taken_for_a_missing_kernel():
    words = UNSUPPORTED[0].words
    assert is_unsupported("paddle", Task("forward", "eval", "float16"), words)
    assert not is_unsupported("paddle", Task("forward", "eval", "float16"), "ValueError: something else")
    assert not is_unsupported("paddle", Task("forward", "eval", "float32"), words)
    assert not is_unsupported("torch", Task("forward", "eval", "float16"), words)


def test_compiled_code_is_the_same():
    executions = [
        execution for execution in EXECUTIONS if execution != "torch.compile"
    ]  # takes a minute: `parity run --compile torch.compile`
    report = run(
        select(["SpatialAttention/norm"]),
        FRAMEWORKS,
        ["float64", "float32"],
        IMAGE,
        checks=["forward", "gradients"],
        executions=executions,
    )
    assert report.passed
    seen = {(r.framework, r.check.partition(" ")[2].partition(" ")[2] or "eager") for r in report.results}
    assert seen == {
        (framework, execution)
        for execution in executions
        for framework in FRAMEWORKS
        if execution in TABLE[framework].abilities.executions
    }
    static = [r for r in report.results if r.verdict == "unsupported"]
    assert {r.check for r in static} == {"gradients eval paddle.jit.to_static"}


def test_compiled_maxima_behind_a_batch_norm_have_their_gradient():
    cases = select(["BasicBlock/cbam"])
    report = run(cases, ["flax"], ["float64"], IMAGE, checks=["gradients"], executions=["eager", "nnx.jit"])
    assert report.passed
    assert {r.check for r in report.results} == {
        f"gradients {m}{f}" for m in ("eval", "train") for f in ("", " nnx.jit")
    }


def test_compiled_code_that_compares_with_the_maximum_again_is_seen(monkeypatch):
    """That the check above can fail: XLA's own gradient of a maximum is half off."""
    case = select(["BasicBlock/cbam"])[0]
    drawn = draw(case, IMAGE, 0)
    expected = expect(case, drawn, "float64", ("gradients",), train=True)["gradients"]
    monkeypatch.setattr(flax_impl.cbam, "max_hw", lambda x: x.max((1, 2), keepdims=True))
    monkeypatch.setattr(flax_impl.cbam, "max_c", lambda x: x.max(-1, keepdims=True))
    model = flax.build(case.module, case.args, case.kwargs)
    set_weights(model, {key: array.astype(np.float64) for key, array in drawn.weights.items()})
    x, cotangent = drawn.x.astype(np.float64), drawn.cotangent.astype(np.float64)
    found = flax.gradients(model, x, cotangent, train=True, execution="nnx.jit")
    computed = {"input": found.pop("input"), **convert(found, "flax", "torch")}
    verdict = compare.judge(computed, expected.arrays, "float64", expected.noise)
    assert verdict.status == "differs"
    assert verdict.error > 1e-3


def test_torch_compile_has_the_gradient_of_a_maximum_in_half_precision():
    report = run(
        select(["CBAM/options"]), ["torch"], ["bfloat16"], IMAGE, checks=["gradients"], executions=["torch.compile"]
    )
    assert report.passed


def test_a_block_and_a_network_train_the_same():
    report = run(select(["BasicBlock/cbam", "SEResNet/identity"]), FRAMEWORKS, ["float64"], IMAGE, checks=["training"])
    assert report.passed
    assert len(report.results) == 2 * len(FRAMEWORKS)


def test_every_recipe_and_every_light_block_and_network_is_trained():
    modules = ("BasicBlock", "Bottleneck", "SEResNet")
    # One image, weights as training leaves them, and values of thousands are for a pass and not for ten steps.
    tame = [case for case in CASES if case.weights == "tame" and case.input != "far"]
    light = [case for case in tame if case.module in modules and not case.heavy and case.shape[0] > 1]
    assert all(len(case.recipes) == 1 for case in light)
    assert {recipe for case in light for recipe in case.recipes} == set(RECIPES)
    assert {case.kwargs.get("placement", "standard") for case in light} == set(PLACEMENTS)
    assert {case.module for case in CASES if case.recipes == RECIPES} == {"SE", "CBAM", "ASPP", "SE_ASPP"}
    assert not any("adam" in recipe for case in light if case.module == "SEResNet" for recipe in case.recipes)


def test_a_case_of_each_module_is_compiled():
    assert {case.module for case in CASES if case.compiled} == {case.module for case in CASES} - {
        "Bottleneck",
        "SEResNet",
    }


def test_the_default_and_what_an_execution_runs_on():
    case, able = select(["SE/default"])[0], TABLE["torch"].abilities
    assert [task.title for task in list_tasks(case, ["forward"], ["float32"], ["eager"], able)] == [
        "forward eval",
        "forward train",
    ]
    assert [task.title for task in list_tasks(case, ["forward"], ["float32"], ["torch.export"], able)] == [
        "forward eval torch.export"
    ]
    assert list_tasks(case, ["forward"], ["float32"], ["nnx.jit"], able) == []


def test_every_mutant_is_of_a_line_that_is_there_and_there_are_enough():
    assert len(MUTANTS) >= 200
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        for framework, (old, new) in mutant.edits.items():
            assert (
                read_mutated(source_file(framework, mutant.file), old, new)
                != source_file(framework, mutant.file).read_text()
            )


def test_every_mutant_is_caught_and_the_code_without_one_lives():
    found = run_mutants(FRAMEWORKS, IMAGE)
    planted = [one for one in found if one.mutant]
    assert len(planted) == sum(len(mutant.edits) for mutant in MUTANTS)
    assert [
        f"{one.framework}: {one.mutant and one.mutant.name}: {one.result.why}" for one in found if not one.right
    ] == []
    # One that is no Python would be caught for that alone.
    mistyped = ("NameError", "AttributeError", "ImportError", "SyntaxError", "IndentationError")
    assert [one.mutant.name for one in planted if one.result.why.startswith(mistyped)] == []
    # Each is named by case and tensor, with its distance.
    assert all(one.result.why and one.distance > 1 for one in planted)


def test_a_mutant_computes_on_the_device_that_was_chosen(monkeypatch):
    adapter = frameworks.load("torch")
    monkeypatch.setattr(adapter, "DEVICE", torch.device("meta"))
    mutated, _ = mutate(adapter, "se.py", "", "")
    assert mutated is not adapter
    assert next(mutated.build("SE", (32,), {}).parameters()).is_meta
