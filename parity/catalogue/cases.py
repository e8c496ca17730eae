"""The catalogue: what is compared, and why. The command line, the tests and the documentation all read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from ..errors import ParityError
from .recipes import RECIPES

INPUTS = {
    "photo": "crops of a photograph, pixel-unshuffled to the channels needed: real edges, repeated values",
    "normal": "seeded standard normal values",
    "integers": "seeded integers from -3 to 3: ties everywhere",
    "offset": "seeded normal values of mean 64 and deviation 1",
    "constant": "one value all over each channel: variance zero",
    "far": "values from 100 to 10000, each channel of one sign, one image below -1000 throughout",
    "tiny": "seeded normal values of deviation 1e-11",
}

WEIGHTS = {
    "tame": "seeded normal kernels, gammas and running variances from 0.5 to 1.5",
    "trained": "as training leaves them: negative and zero gammas, variances from 1e-8 to 1e4, dead channels, open gates",
}

# The label of the cases in REAL_SIZES: '*/real-size' names them all.
REAL = "real-size"


@dataclass(frozen=True)
class Case:
    """One module with its arguments, on one input; `why` says what it can show that others cannot.

    `shape` is the input's (n, c, h, w), `gain` multiplies the drawn kernels, and `modes` are those that exist for it:
    train mode is left out where dropout's random masks, or a batch norm over one value, have nothing to compare. A heavy
    case takes seconds: it runs when it is named, or when all are asked for. A compiled one is run in the executions that take
    long to compile too, and `recipes` are those that it is trained with. `draws` is the most draws of its noise, where one
    takes half a minute.
    """

    module: str
    label: str
    args: tuple[int, ...]
    shape: tuple[int, int, int, int]
    why: str
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    input: str = "photo"
    weights: str = "tame"
    gain: float = 1.0
    modes: tuple[str, ...] = ("eval", "train")
    heavy: bool = False
    compiled: bool = False
    recipes: tuple[str, ...] = ()
    draws: int | None = None

    @property
    def name(self) -> str:
        """The name on the command line: MODULE/LABEL."""
        return f"{self.module}/{self.label}"

    def fits(self, dtype: str) -> bool:
        """Whether the format holds the values and their gradients: float16 ends at 65504."""
        return not (self.input == "far" and dtype == "float16")

    @property
    def is_real_size(self) -> bool:
        """Whether it takes minutes and gigabytes: it runs where a pattern ends in its label, and nowhere else."""
        return self.label == REAL

    @property
    def call(self) -> str:
        """The constructor's call, as one writes it."""
        arguments = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"{self.module}({', '.join(arguments)})"

    @property
    def program(self) -> str:
        """The program as a compiler sees it: shapes, and neither weights nor values."""
        return f"{self.call} {self.shape} {self.modes}"


# Maps larger than twice the largest rate show every tap of a dilated kernel; n, c, h and w differ so that no axis can
# stand for another.
_WIDE = (3, 4, 41, 37)

# Whole networks: odd sides, so that every stride's rounding shows; the last stage still has 2 x 2 places.
_IMAGE = (2, 3, 39, 35)


def _network(label: str, depth: int, why: str, kwargs: Mapping[str, Any], **options: Any) -> Case:
    """A narrow SEResNet on a small image."""
    narrow = {"width": 8, "reduction": 4, "num_classes": 10, **kwargs}
    return Case("SEResNet", label, (depth,), options.pop("shape", _IMAGE), why, narrow, **options)


# fmt: off
CASES: tuple[Case, ...] = (
    Case("SE", "default", (32,), (3, 32, 9, 7), "as most networks use it", compiled=True),
    Case("SE", "normal", (32,), (3, 32, 9, 7), "the same on values without structure", input="normal", recipes=RECIPES),
    Case("SE", "hidden", (20,), (3, 20, 5, 6), "a bottleneck no ratio gives", {"hidden": 7}),
    Case("SE", "square", (12,), (3, 12, 5, 6), "square matrices, which pass every shape check transposed", {"hidden": 12}),
    Case("SE", "no-bias", (32,), (3, 32, 9, 7), "no biases, as in many ports", {"reduction": 8, "bias": False}),
    Case("SE", "hard-sigmoid", (24,), (3, 24, 9, 7), "gate at its ends and between", {"reduction": 4, "gate": "hard_sigmoid"}, gain=2.0),
    Case("SE", "hard-sigmoid-0.2", (24,), (3, 24, 9, 7), "PaddleClas's slope", {"reduction": 4, "gate": "hard_sigmoid", "slope": 0.2}, gain=2.0),
    Case("SE", "1x1", (32,), (3, 32, 1, 1), "a map that is its own mean"),
    Case("SE", "batch-1", (32,), (1, 32, 8, 5), "one image"),
    Case("SE", "integers", (16,), (2, 16, 6, 5), "values that every format holds exactly", {"reduction": 4}, "integers"),
    Case("SE", "constant", (16,), (2, 16, 6, 5), "the mean is the value", {"reduction": 4}, "constant"),
    Case("SE", "trained", (32,), (3, 32, 9, 7), "gates that saturate, a hidden unit on its kink", {}, "integers", "trained"),
    Case("SE", "trained-hard", (24,), (3, 24, 9, 7), "gates exactly at both ends", {"reduction": 4, "gate": "hard_sigmoid"}, "integers", "trained"),
    Case("SE", "far", (32,), (3, 32, 9, 7), "hidden units of hundreds", {"reduction": 4}, "far"),
    Case("SE", "tiny", (32,), (3, 32, 9, 7), "a ReLU that opens at 0 and no later", {"reduction": 4, "bias": False}, "tiny"),
    Case("ChannelAttention", "default", (32,), (3, 32, 9, 7), "mean and maximum through one bottleneck"),
    Case("ChannelAttention", "normal", (32,), (3, 32, 9, 7), "the same on values without structure", input="normal"),
    Case("ChannelAttention", "bias", (32,), (3, 32, 9, 7), "a bias counted once for each pool", {"reduction": 4, "bias": True}, compiled=True),
    Case("ChannelAttention", "hidden", (18,), (2, 18, 5, 6), "a bottleneck no ratio gives", {"hidden": 5}),
    Case("ChannelAttention", "integers", (16,), (2, 16, 6, 5), "a maximum held by many places", input="integers"),
    Case("ChannelAttention", "1x1", (16,), (3, 16, 1, 1), "mean and maximum are the same"),
    Case("ChannelAttention", "trained", (32,), (3, 32, 9, 7), "gates that saturate, ties of positive values", {"reduction": 4, "bias": True}, "integers", "trained"),
    Case("ChannelAttention", "far", (32,), (3, 32, 9, 7), "a maximum of values far below 0", {"reduction": 4}, "far"),
    Case("ChannelAttention", "tiny", (32,), (3, 32, 9, 7), "a ReLU that opens at 0 and no later", {"reduction": 4}, "tiny"),
    Case("SpatialAttention", "default", (), (3, 8, 12, 10), "mean before maximum, 7x7"),
    Case("SpatialAttention", "normal", (), (3, 8, 12, 10), "the same on values without structure", input="normal"),
    Case("SpatialAttention", "3x3", (), (2, 6, 9, 11), "the other size of the paper", {"kernel_size": 3}),
    Case("SpatialAttention", "1x1-kernel", (), (2, 6, 9, 11), "the smallest kernel", {"kernel_size": 1}),
    Case("SpatialAttention", "small-map", (), (2, 6, 3, 5), "a kernel larger than the map"),
    Case("SpatialAttention", "norm", (), (3, 8, 12, 10), "one channel's batch norm", {"norm": True, "momentum": 0.01}, compiled=True),
    Case("SpatialAttention", "norm-offset", (), (3, 8, 12, 10), "a variance far below the squared mean", {"norm": True}, "offset"),
    Case("SpatialAttention", "norm-constant", (), (2, 6, 9, 11), "variance from the border alone", {"norm": True}, "constant"),
    Case("SpatialAttention", "integers", (), (2, 6, 9, 11), "a maximum held by many channels", input="integers"),
    Case("SpatialAttention", "large", (), (3, 8, 12, 10), "gates that saturate", input="normal", gain=2000.0),
    Case("SpatialAttention", "trained", (), (3, 8, 12, 10), "a negative gamma, a variance as small as epsilon", {"norm": True, "momentum": 0.01}, "integers", "trained"),
    Case("SpatialAttention", "far", (), (3, 8, 12, 10), "a maximum of values far below 0", {}, "far"),
    Case("CBAM", "default", (32,), (3, 32, 9, 11), "both attentions, as the seeds have them"),
    Case("CBAM", "normal", (32,), (3, 32, 9, 11), "the same on values without structure", input="normal"),
    Case("CBAM", "norm", (32,), (3, 32, 9, 11), "as the authors and timm have it", {"reduction": 4, "norm": True, "bias": True, "momentum": 0.01}, recipes=RECIPES),
    Case("CBAM", "options", (18,), (2, 18, 10, 13), "every option away from its default", {"hidden": 5, "bias": True, "kernel_size": 3, "norm": True, "momentum": 0.3}, compiled=True),
    Case("CBAM", "integers", (16,), (2, 16, 9, 8), "ties in both pools", input="integers"),
    Case("CBAM", "1x1", (16,), (3, 16, 1, 1), "the kernel's centre tap alone"),
    Case("CBAM", "batch-1", (16,), (1, 16, 9, 8), "one image"),
    Case("CBAM", "trained", (32,), (3, 32, 9, 11), "channels that tie behind their gates", {"reduction": 4, "norm": True, "bias": True, "momentum": 0.01}, "integers", "trained"),
    Case("ASPP", "default", (4, 8), _WIDE, "the rates of DeepLabv3, every tap in sight", {"dropout": 0.0}),
    Case("ASPP", "normal", (4, 8), _WIDE, "the same on values without structure", {"dropout": 0.0}, "normal"),
    Case("ASPP", "dropout", (4, 8), (2, 4, 9, 11), "dropout is the identity in eval mode", {"rates": (2,)}, modes=("eval",)),
    Case("ASPP", "one-rate", (5, 7), (2, 5, 9, 11), "the smallest pyramid", {"rates": (3,), "dropout": 0.0}, compiled=True),
    Case("ASPP", "four-rates", (5, 7), (2, 5, 21, 19), "more branches, a bias each", {"rates": (1, 2, 4, 8), "bias": True, "dropout": 0.0}),
    Case("ASPP", "momentum", (5, 7), (2, 5, 9, 11), "running values that move far", {"rates": (2, 3), "dropout": 0.0, "momentum": 0.75}),
    Case("ASPP", "small-map", (4, 8), (2, 4, 7, 5), "rates beyond the map: centre taps alone", {"dropout": 0.0}),
    Case("ASPP", "1x1", (4, 8), (3, 4, 1, 1), "every branch sees one place", {"dropout": 0.0}),
    Case("ASPP", "integers", (4, 8), (2, 4, 9, 11), "ties at the ReLUs", {"rates": (2, 3), "dropout": 0.0}, "integers"),
    Case("ASPP", "offset", (4, 8), (3, 4, 13, 17), "a variance far below the squared mean", {"rates": (2, 5), "dropout": 0.0}, "offset"),
    Case("ASPP", "training", (4, 6), (5, 4, 9, 8), "small enough to train", {"rates": (2, 3), "dropout": 0.0}, "normal", recipes=RECIPES),
    Case("ASPP", "batch-1", (4, 8), (1, 4, 13, 17), "one image; train mode refuses it", {"rates": (2, 5)}, modes=("eval",)),
    Case("ASPP", "trained", (5, 7), (2, 5, 9, 11), "gammas of every sign, dead channels, tiny and large variances", {"rates": (3,), "dropout": 0.0}, "photo", "trained"),
    Case("ASPP", "far", (5, 7), (2, 5, 9, 11), "ReLUs of values in the ten thousands", {"rates": (3,), "dropout": 0.0}, "far"),
    Case("SE_ASPP", "default", (4, 8), _WIDE, "the whole head, every tap in sight"),
    Case("SE_ASPP", "normal", (4, 8), _WIDE, "the same on values without structure", input="normal"),
    Case("SE_ASPP", "options", (5, 6), (2, 5, 13, 17), "every option away from its default", {"rates": (1, 3), "reduction": 4, "bias": False, "momentum": 0.25}, compiled=True),
    Case("SE_ASPP", "small-map", (4, 8), (2, 4, 7, 5), "rates beyond the map: centre taps alone"),
    Case("SE_ASPP", "integers", (4, 8), (2, 4, 9, 11), "ties at the ReLUs", {"rates": (2, 3)}, "integers"),
    Case("SE_ASPP", "constant", (4, 8), (2, 4, 9, 11), "variance from the border alone", {"rates": (2, 3)}, "constant"),
    Case("SE_ASPP", "training", (4, 6), (5, 4, 9, 8), "small enough to train, biases in front of batch norms", {"rates": (2, 3)}, "normal", recipes=RECIPES),
    Case("SE_ASPP", "batch-1", (4, 8), (1, 4, 13, 17), "one image; train mode refuses it", {"rates": (2, 5)}, modes=("eval",)),
    Case("SE_ASPP", "trained", (4, 8), (2, 4, 9, 11), "the same in front of gates that saturate", {"rates": (2, 3)}, "photo", "trained"),
    Case("SE_ASPP", "dropout", (4, 8), (2, 4, 9, 11), "dropout is the identity in eval mode", {"rates": (2, 3), "dropout": 0.5}, modes=("eval",)),
    Case("BasicBlock", "projection", (6, 8), (2, 6, 9, 8), "a stride and a projecting shortcut", {"stride": 2, "reduction": 4, "min_hidden": 3}, recipes=("adamw cross-entropy",)),
    Case("BasicBlock", "identity", (8, 8), (2, 8, 9, 7), "CBAM on a shortcut that projects nothing", {"placement": "identity", "attention": "cbam", "reduction": 4, "momentum": 0.3}, recipes=("adamw mse",)),
    Case("BasicBlock", "cbam", (32, 32), (2, 32, 6, 5), "maxima behind a batch norm, which compiled code may round in two ways", {"attention": "cbam", "reduction": 4}, compiled=True, recipes=("adam cross-entropy",)),
    Case("BasicBlock", "dilated", (8, 8), (2, 8, 9, 7), "the second convolution reaches further", {"dilation": 4, "first_dilation": 2, "placement": "post", "reduction": 4}, recipes=("adam mse",)),
    Case("BasicBlock", "trained", (32, 32), (2, 32, 6, 5), "constant channels: maxima behind a batch norm tie", {"attention": "cbam", "reduction": 4}, "normal", "trained"),
    Case("BasicBlock", "far", (6, 8), (2, 6, 9, 8), "ReLUs of values in the ten thousands", {"stride": 2, "reduction": 4}, "far"),
    Case("BasicBlock", "batch-1", (32, 32), (1, 32, 6, 5), "one image"),
    Case("Bottleneck", "projection", (6, 4), (2, 6, 9, 8), "a stride in the 3x3, four times the width", {"stride": 2, "reduction": 4}, recipes=("nesterov cross-entropy",)),
    Case("Bottleneck", "conv", (16, 4), (2, 16, 9, 7), "CBAM between convolution and norm", {"placement": "conv", "attention": "cbam", "reduction": 4}, recipes=("nesterov mse",)),
    Case("Bottleneck", "dilated", (16, 4), (2, 16, 9, 7), "a dilated 3x3, SE at the front", {"dilation": 4, "first_dilation": 2, "placement": "pre", "reduction": 16, "min_hidden": 3, "momentum": 0.3}, recipes=("momentum cross-entropy",)),
    Case("Bottleneck", "trained", (6, 8), (2, 6, 9, 8), "a projecting shortcut with gammas of every sign", {"stride": 2, "reduction": 4}, "photo", "trained"),
    Case("Bottleneck", "far", (6, 4), (2, 6, 9, 8), "ReLUs of values in the ten thousands", {"stride": 2, "reduction": 4}, "far"),
    Case("Bottleneck", "batch-1", (6, 4), (1, 6, 9, 8), "one image", {"stride": 2, "reduction": 4}),
    _network("standard", 18, "SE before the sum, as the paper has it", {}, recipes=("sgd mse",)),
    _network("pre", 18, "SE before the first convolution", {"placement": "pre"}, recipes=("sgd cross-entropy",)),
    _network("post", 18, "SE after the sum", {"placement": "post"}, recipes=("momentum mse",)),
    _network("identity", 18, "SE on the shortcut, before its projection", {"placement": "identity"}, recipes=("momentum cross-entropy",)),
    _network("conv", 18, "SE between convolution and norm, in one block", {"placement": "conv", "where": ("layer3.1",)}, recipes=("nesterov mse",)),
    _network("cbam", 18, "CBAM in the late stages", {"attention": "cbam", "where": ("layer3", "layer4.0")}, recipes=("nesterov cross-entropy",)),
    _network("plain", 18, "no attention: a ResNet", {"where": ()}, recipes=("sgd mse",)),
    _network("trained", 18, "constant channels in front of the max pool: every window ties", {"attention": "cbam", "where": ("layer3", "layer4.0")}, weights="trained"),
    _network("far", 18, "ReLUs of values in the ten thousands", {}, input="far"),
    _network("integers", 18, "ties in the max pool and at the ReLUs", {"placement": "conv"}, input="integers", heavy=True),
    _network("small-stem", 18, "the stem for small images, a bottleneck of at least 3", {"small_stem": True, "in_channels": 1, "min_hidden": 3}, shape=(2, 1, 13, 11), heavy=True),
    _network("features", 18, "without a classifier, running values that move far", {"num_classes": 0, "momentum": 0.75}, heavy=True),
    _network("batch-1", 18, "one image; wider, a reduction as networks have it", {"width": 16, "reduction": 16}, shape=(1, 3, 39, 35), heavy=True),
    _network("dilated-16", 18, "the last stage dilated, basic blocks", {"output_stride": 16}, heavy=True),
    _network("34", 34, "the deeper network of basic blocks", {}, heavy=True),
    _network("50", 50, "bottlenecks", {}, heavy=True),
    _network("50-dilated-8", 50, "two stages dilated, as DeepLab has them", {"output_stride": 8}, heavy=True),
    _network("50-pre", 50, "SE over the wide input of a bottleneck", {"placement": "pre"}, heavy=True),
    _network("50-post", 50, "SE after the sum", {"placement": "post"}, heavy=True),
    _network("50-identity", 50, "SE on the wide shortcut", {"placement": "identity"}, heavy=True),
    _network("50-conv", 50, "SE between the last 1x1 convolution and its norm", {"placement": "conv"}, heavy=True),
    _network("50-cbam", 50, "CBAM in bottlenecks", {"attention": "cbam", "where": ("layer2.0", "layer4")}, heavy=True),
    _network("101", 101, "rounding over a hundred layers", {"where": ("layer4",)}, heavy=True),
    _network("152", 152, "the deepest", {"where": ("layer4",)}, heavy=True),
)

# At the sizes that people use kernels take other ways (blocked, Winograd, implicit GEMM, FFT) and sums are long. Without
# dropout or batch norm the two modes are the same. Normal values, for a crop of 256 channels is larger than the photograph.
REAL_SIZES: tuple[Case, ...] = (
    Case("SE", REAL, (256,), (8, 256, 56, 56), "the first stage of a ResNet-50, a batch of eight", input="normal", modes=("eval",)),
    Case("CBAM", REAL, (256,), (8, 256, 56, 56), "the same map, maxima over many places and channels", {"reduction": 16}, "normal", modes=("eval",)),
    Case("SE_ASPP", REAL, (2048, 256), (2, 2048, 33, 33), "the head of DeepLabv3: sums of 18432 products", input="normal", modes=("train",)),
    Case("SEResNet", REAL, (50,), (4, 3, 224, 224), "the whole network at full width", modes=("train",), draws=3),
)
# fmt: on
EVERY = (*CASES, *REAL_SIZES)


def select(patterns: Sequence[str], *, heavy: bool = False) -> list[Case]:
    """The cases whose name one of the glob patterns matches, in the catalogue's order.

    For no pattern all of CASES, the heavy ones only with `heavy`. A pattern that ends in `/real-size` is of REAL_SIZES, and
    no other is: 'SE/*' is meant for seconds.

    Raises:
        ParityError: for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(_matches(case, pattern) for case in EVERY):
            raise ParityError(f"no case matches {pattern!r}; `parity list` shows them, 'CBAM/*' matches all of CBAM")
    if not patterns:
        return [case for case in CASES if heavy or not case.heavy]
    return [case for case in EVERY if any(_matches(case, pattern) for pattern in patterns)]


def _matches(case: Case, pattern: str) -> bool:
    """Whether the pattern names the case."""
    return fnmatchcase(case.name, pattern) and case.is_real_size == pattern.endswith(f"/{REAL}")
