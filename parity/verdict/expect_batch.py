"""The expected values of an image alone and in a batch of eight: in eval mode the same, whoever its neighbours are."""

import numpy as np

from ..catalogue import batch
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from .expect import Expected, expect


def expect_batch(
    case: Case, drawn: Drawn, dtype: str, roundoff: float | None = None, *, in_order: bool = False, functions: str = ""
) -> Expected:
    """The output for the image, twice: as "alone" and as "among" seven others. For the rest see `expect`."""
    image = Drawn(drawn.weights, batch.alone(drawn.x), np.zeros((), drawn.x.dtype))
    found = expect(
        case, image, dtype, ("forward",), train=False, roundoff=roundoff, in_order=in_order, functions=functions
    )["forward"]
    why = found.undetermined.get("output")
    names = ("alone", "among")
    return Expected(
        dict.fromkeys(names, found.arrays["output"]),
        dict.fromkeys(names, found.noise["output"]),
        dict.fromkeys(names, why) if why else {},
    )
