"""Differences planted in the ports of examples/ports: which layer is named, and which cause; none may be wrong."""

import os

import pytest
from planted import PLANTED, judge, plant

# All of them: PARITY_ALL=1; else some of PyTorch, which take a second each, and one of each other framework.
QUICK = [each for each in PLANTED if each[0].endswith("_torch")][::23]
QUICK += [
    next(each for each in PLANTED if each[0] == f"convnext_{name}" and "gelu" in str(each[4]))
    for name in ("paddle", "flax")
]


@pytest.mark.parametrize(
    "planted", PLANTED if os.environ.get("PARITY_ALL") else QUICK, ids=lambda each: f"{each[0]} {each[2]}"[:60]
)
def test_the_layer_and_the_cause_of_a_planted_difference_are_named(tmp_path, planted):
    name, old, new, layer, cause, *more = planted
    report = plant(tmp_path, name, old, new, *more)
    assert not report.passed
    assert judge(report, layer, cause) == (True, cause is not None, False)
