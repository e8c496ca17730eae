"""A picture of the array that is off most in each check of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..catalogue.tasks import Plan
from ..page.pictures import Picture, take
from ..verdict.expect import Expected
from ..verdict.expect_all import Expectations, Key
from ..verdict.judge import check_structure, largest, noise_units
from ..verdict.results import PictureKey
from ..workers.outcome import Outcome


def take_all(outcomes: Sequence[Outcome], jobs: Plan, expectations: Expectations) -> dict[PictureKey, Picture]:
    """The pictures by case, framework, precision and check; where there is nothing to compare there is none."""
    found = {}
    for outcome in outcomes:
        for item in jobs[outcome.framework]:
            for task in item.tasks:
                if outcome.refusal(task.dtype) or outcome.error(item, task):
                    continue
                expected = expectations[Key.of(item.case, task, outcome.device)]
                picture = _take(outcome.arrays(item, task), expected, task.dtype)
                if picture is not None:
                    found[item.case.name, outcome.name, task.dtype, task.title] = picture
    return found


def _take(computed: Mapping[str, np.ndarray], expected: Expected, dtype: str) -> Picture | None:
    """The array that is off most of those that can be decided."""
    decided = {key: array for key, array in expected.arrays.items() if key not in expected.undetermined}
    if not decided or check_structure(computed, expected.arrays, dtype):
        return None

    def size(key: str) -> float:
        difference = computed[key].astype(np.float64) - decided[key]
        if dtype == "float64":
            return largest(difference) / (largest(decided[key]) or 1.0)
        return noise_units(difference, expected.noise[key])

    worst = max((key for key in decided if decided[key].size), key=size, default=None)
    if worst is None:
        return None
    picture = take(decided[worst], computed[worst].astype(np.float64), expected.noise[worst].rms)
    return picture and replace(picture, name=worst)
