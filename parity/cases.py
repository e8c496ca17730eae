"""The catalogue: what is compared, and why. The command line, the tests and the documentation all read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from .errors import ParityError

INPUTS = {
    "photo": "crops of a photograph, pixel-unshuffled to the channels needed: real edges, repeated values",
    "normal": "seeded standard normal values",
    "integers": "seeded integers from -3 to 3: ties everywhere",
    "offset": "seeded normal values of mean 64 and deviation 1",
    "constant": "one value all over each channel: variance zero",
}


@dataclass(frozen=True)
class Case:
    """One module with its arguments, on one input; `why` says what it can show that others cannot.

    `shape` is the input's (n, c, h, w), `gain` multiplies the drawn kernels, and `modes` are those that exist for it:
    train mode is left out where dropout's random masks, or a batch norm over one value, have nothing to compare.
    """

    module: str
    label: str
    args: tuple[int, ...]
    shape: tuple[int, int, int, int]
    why: str
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    input: str = "photo"
    gain: float = 1.0
    modes: tuple[str, ...] = ("eval", "train")

    @property
    def name(self) -> str:
        """What the command line calls it: MODULE/LABEL."""
        return f"{self.module}/{self.label}"

    @property
    def call(self) -> str:
        """The constructor's call, as one writes it."""
        arguments = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"{self.module}({', '.join(arguments)})"


# Maps larger than twice the largest rate show every tap of a dilated kernel; n, c, h and w differ so that no axis can
# stand for another.
_WIDE = (3, 4, 41, 37)

# fmt: off
CASES: tuple[Case, ...] = (
    Case("SE", "default", (32,), (3, 32, 9, 7), "as most networks use it"),
    Case("SE", "normal", (32,), (3, 32, 9, 7), "the same on values without structure", input="normal"),
    Case("SE", "hidden", (20,), (3, 20, 5, 6), "a bottleneck no ratio gives", {"hidden": 7}),
    Case("SE", "no-bias", (32,), (3, 32, 9, 7), "no biases, as in many ports", {"reduction": 8, "bias": False}),
    Case("SE", "hard-sigmoid", (24,), (3, 24, 9, 7), "gate at its ends and between", {"reduction": 4, "gate": "hard_sigmoid"}, gain=2.0),
    Case("SE", "hard-sigmoid-0.2", (24,), (3, 24, 9, 7), "PaddleClas's slope", {"reduction": 4, "gate": "hard_sigmoid", "slope": 0.2}, gain=2.0),
    Case("SE", "1x1", (32,), (3, 32, 1, 1), "a map that is its own mean"),
    Case("SE", "batch-1", (32,), (1, 32, 8, 5), "one image"),
    Case("SE", "integers", (16,), (2, 16, 6, 5), "values that every format holds exactly", {"reduction": 4}, "integers"),
    Case("SE", "constant", (16,), (2, 16, 6, 5), "the mean is the value", {"reduction": 4}, "constant"),
    Case("ChannelAttention", "default", (32,), (3, 32, 9, 7), "mean and maximum through one bottleneck"),
    Case("ChannelAttention", "normal", (32,), (3, 32, 9, 7), "the same on values without structure", input="normal"),
    Case("ChannelAttention", "bias", (32,), (3, 32, 9, 7), "a bias counted once for each pool", {"reduction": 4, "bias": True}),
    Case("ChannelAttention", "hidden", (18,), (2, 18, 5, 6), "a bottleneck no ratio gives", {"hidden": 5}),
    Case("ChannelAttention", "integers", (16,), (2, 16, 6, 5), "a maximum held by many places", input="integers"),
    Case("ChannelAttention", "1x1", (16,), (3, 16, 1, 1), "mean and maximum are the same"),
    Case("SpatialAttention", "default", (), (3, 8, 12, 10), "mean before maximum, 7x7"),
    Case("SpatialAttention", "normal", (), (3, 8, 12, 10), "the same on values without structure", input="normal"),
    Case("SpatialAttention", "3x3", (), (2, 6, 9, 11), "the other size of the paper", {"kernel_size": 3}),
    Case("SpatialAttention", "1x1-kernel", (), (2, 6, 9, 11), "the smallest kernel", {"kernel_size": 1}),
    Case("SpatialAttention", "small-map", (), (2, 6, 3, 5), "a kernel larger than the map"),
    Case("SpatialAttention", "norm", (), (3, 8, 12, 10), "one channel's batch norm", {"norm": True, "momentum": 0.01}),
    Case("SpatialAttention", "norm-offset", (), (3, 8, 12, 10), "a variance far below the squared mean", {"norm": True}, "offset"),
    Case("SpatialAttention", "norm-constant", (), (2, 6, 9, 11), "variance from the border alone", {"norm": True}, "constant"),
    Case("SpatialAttention", "integers", (), (2, 6, 9, 11), "a maximum held by many channels", input="integers"),
    Case("CBAM", "default", (32,), (3, 32, 9, 11), "both attentions, as the seeds have them"),
    Case("CBAM", "normal", (32,), (3, 32, 9, 11), "the same on values without structure", input="normal"),
    Case("CBAM", "norm", (32,), (3, 32, 9, 11), "as the authors and timm have it", {"reduction": 4, "norm": True, "bias": True, "momentum": 0.01}),
    Case("CBAM", "options", (18,), (2, 18, 10, 13), "every option away from its default", {"hidden": 5, "bias": True, "kernel_size": 3, "norm": True, "momentum": 0.3}),
    Case("CBAM", "integers", (16,), (2, 16, 9, 8), "ties in both pools", input="integers"),
    Case("CBAM", "1x1", (16,), (3, 16, 1, 1), "the kernel's centre tap alone"),
    Case("CBAM", "batch-1", (16,), (1, 16, 9, 8), "one image"),
    Case("ASPP", "default", (4, 8), _WIDE, "the rates of DeepLabv3, every tap in sight", {"dropout": 0.0}),
    Case("ASPP", "normal", (4, 8), _WIDE, "the same on values without structure", {"dropout": 0.0}, "normal"),
    Case("ASPP", "dropout", (4, 8), (2, 4, 9, 11), "dropout is the identity in eval mode", {"rates": (2,)}, modes=("eval",)),
    Case("ASPP", "one-rate", (5, 7), (2, 5, 9, 11), "the smallest pyramid", {"rates": (3,), "dropout": 0.0}),
    Case("ASPP", "four-rates", (5, 7), (2, 5, 21, 19), "more branches, a bias each", {"rates": (1, 2, 4, 8), "bias": True, "dropout": 0.0}),
    Case("ASPP", "momentum", (5, 7), (2, 5, 9, 11), "running values that move far", {"rates": (2, 3), "dropout": 0.0, "momentum": 0.75}),
    Case("ASPP", "small-map", (4, 8), (2, 4, 7, 5), "rates beyond the map: centre taps alone", {"dropout": 0.0}),
    Case("ASPP", "1x1", (4, 8), (3, 4, 1, 1), "every branch sees one place", {"dropout": 0.0}),
    Case("ASPP", "integers", (4, 8), (2, 4, 9, 11), "ties at the ReLUs", {"rates": (2, 3), "dropout": 0.0}, "integers"),
    Case("ASPP", "offset", (4, 8), (3, 4, 13, 17), "a variance far below the squared mean", {"rates": (2, 5), "dropout": 0.0}, "offset"),
    Case("ASPP", "training", (4, 6), (4, 4, 9, 8), "small enough to train", {"rates": (2, 3), "dropout": 0.0}, "normal"),
    Case("ASPP", "batch-1", (4, 8), (1, 4, 13, 17), "one image; train mode refuses it", {"rates": (2, 5)}, modes=("eval",)),
    Case("SE_ASPP", "default", (4, 8), _WIDE, "the whole head, every tap in sight"),
    Case("SE_ASPP", "normal", (4, 8), _WIDE, "the same on values without structure", input="normal"),
    Case("SE_ASPP", "options", (5, 6), (2, 5, 13, 17), "every option away from its default", {"rates": (1, 3), "reduction": 4, "bias": False, "momentum": 0.25}),
    Case("SE_ASPP", "small-map", (4, 8), (2, 4, 7, 5), "rates beyond the map: centre taps alone"),
    Case("SE_ASPP", "integers", (4, 8), (2, 4, 9, 11), "ties at the ReLUs", {"rates": (2, 3)}, "integers"),
    Case("SE_ASPP", "constant", (4, 8), (2, 4, 9, 11), "variance from the border alone", {"rates": (2, 3)}, "constant"),
    Case("SE_ASPP", "training", (4, 6), (4, 4, 9, 8), "small enough to train, biases in front of batch norms", {"rates": (2, 3)}, "normal"),
    Case("SE_ASPP", "batch-1", (4, 8), (1, 4, 13, 17), "one image; train mode refuses it", {"rates": (2, 5)}, modes=("eval",)),
)
# fmt: on


def select(patterns: Sequence[str]) -> list[Case]:
    """The cases whose name one of the glob patterns matches, in the catalogue's order; all of them for no pattern.

    Raises:
        ParityError: for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in CASES):
            raise ParityError(f"no case matches {pattern!r}; `parity list` shows them, 'CBAM/*' matches all of CBAM")
    return [case for case in CASES if not patterns or any(fnmatchcase(case.name, p) for p in patterns)]
