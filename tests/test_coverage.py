"""The cases reach every side of every branch of every module, and the report would say where they did not."""

import inspect

import pytest

import torch_impl
from parity.catalogue.cases import CASES
from parity.catalogue.inputs import default_image, read_image
from parity.runs.coverage import IMPOSSIBLE, MAXIMA, SIDES, cover, gaps
from torch_impl.checks import GATES
from torch_impl.se_resnet import ATTENTIONS, DEPTHS, OUTPUT_STRIDES, PLACEMENTS

IMAGE = read_image(default_image())
# What each module computes, by the names of the report.
MODULES = [name for name in torch_impl.__all__ if inspect.isclass(getattr(torch_impl, name))]
BRANCHES = {
    "SE": {"ReLU", "sigmoid", "hard sigmoid"},
    "ChannelAttention": {"ReLU", "sigmoid", "maximum over the map"},
    "SpatialAttention": {"sigmoid", "maximum over channels"},
    "ConvNormReLU": {"ReLU"},
    "BasicBlock": {"ReLU"},
    "Bottleneck": {"ReLU"},
    "SEResNet": {"ReLU", "maximum of a window"},
    "BatchNorm": {"gamma", "running variance", "batch variance"},
}


@pytest.fixture(scope="module")
def found():
    return cover(IMAGE)


def test_the_report_is_complete_and_finds_nothing_missing(found):
    assert gaps(found) == []
    for module, branches in BRANCHES.items():
        for branch in branches:
            sides = {side for side in SIDES[branch] if (module, branch, side) not in IMPOSSIBLE}
            assert found[module, branch].keys() == sides
    for module in MODULES:
        assert found[module, "mode"].keys() == {"eval", "train"}


def test_every_option_is_in_the_report(found):
    for module in MODULES:
        parameters = inspect.signature(getattr(torch_impl, module)).parameters.values()
        options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"name"}
        assert {branch for owner, branch in found if owner == module} >= {f"option {name}" for name in options}


@pytest.mark.parametrize(
    ("module", "option", "values"),
    [
        ("SE", "gate", GATES),
        ("SEResNet", "placement", PLACEMENTS),
        ("SEResNet", "attention", ATTENTIONS),
        ("SEResNet", "output_stride", OUTPUT_STRIDES),
    ],
)
def test_every_choice_is_made(found, module, option, values):
    assert found[module, f"option {option}"].keys() == set(map(repr, values))


def test_every_depth_is_built():
    assert {case.args[0] for case in CASES if case.module == "SEResNet"} == set(DEPTHS)


def test_without_trained_weights_the_report_names_what_is_missing():
    missing = gaps(cover(IMAGE, [case for case in CASES if case.weights == "tame"]))
    for words in (
        "SE: hard sigmoid: 0",
        "SE: ReLU: 0",
        "BatchNorm: gamma: negative",
        "BatchNorm: running variance: 0",
        "SEResNet: maximum of a window: tie above 0",
        "ConvNormReLU: ReLU: 0",
    ):
        assert words in missing


def test_the_reference_has_these_maxima_alone():
    assert set(MAXIMA.values()) <= SIDES.keys()
