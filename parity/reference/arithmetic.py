"""The arithmetic that the reference is written in: exact, or with the rounding errors that a precision must make.

Every operation knows its vector-Jacobian product, in the same arithmetic, so gradients have their noise too.

Arrays are float64 and maps (n, c, h, w). `Exact` computes as float64 does. `Noisy` adds to the result of every
operation a random error of the size that an honest computation in a format of unit roundoff u makes there:

- one operation: uniform in u * |y| * [-1, 1], of deviation u / sqrt(3), but none where the format holds y as it is;
- a convolution's sum of n products: of deviation a * sqrt(sum of their squares) * sqrt(log2 n) more. It grows as in
  pairs and is sqrt(3) times as large, as of 6 log2 n products in order: kernels do both, in lanes and blocks;
- a sum of n values: kernels add in order within blocks, here of B = min(n, BLOCK) values, and round n partial sums. The
  size P of these is the larger of what it is in the order of places, as of a smooth map, and in a random order,
  P^2 = m^2 B^2 / 3 + s^2 B / 2 for values of mean m and deviation s: of deviation a * P * sqrt(n / 3) more.
  Those errors are independent only where the values differ. A value that comes again is cut to the same multiple of
  the partial sum's last digit, and errs the same way while the partial sum keeps its exponent: each of k values that
  are the same within a * P / 2 counts 1 + (k - 1) / 5 times. Zeros err nowhere.

Here a is the unit roundoff of the accumulator. It is u, but float32's where a framework adds half precisions up in
float32: in convolutions and means all do, in sums of gradients over what an operand was broadcast to XLA does not.

Where a device's functions are approximate, the error of such an operation is uniform in b * |y| * [-1, 1], b being the
largest that its documentation admits, and no result is free of it: see `functions`.

Kernels for channels-last maps take the values of a channel one after another, so there everything is one block: B = n,
and a sum of n products is off by a * sqrt(sum of their squares) * sqrt(n / 6).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from .convolution import correlate, correlate_to_input, correlate_to_weight
from .tape import Tape

# Unit roundoff: the largest relative error of rounding to nearest.
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

# Half the distance of the smallest numbers, where it is not too small to matter: the least error of a result.
LEAST = {"float16": 2.0**-25}

# What frameworks add half precisions up in.
ACCUMULATORS = {"float16": "float32", "bfloat16": "float32"}

# How many times its error a ReLU's input may be from 0 for rounding to open or shut it.
UNDECIDED = 5.0

# XLA adds 442 values of a few channels in order, 4500 in blocks; Paddle's batch norm and PyTorch add in lanes.
BLOCK = 512

# Of a constant's running sum half of the steps lie below one power of two, a quarter below the one before, and so on:
# their common errors leave this share of what they were if all of them had one exponent.
SAME_EXPONENT = 1 / 5

Axes = int | tuple[int, ...]
Bilinear = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Exact(Tape):
    """Float64 as it is."""

    def rounded(self, y: np.ndarray, function: str = "") -> np.ndarray:
        """Round the result y of an operation; `function` names one that a device may only approximate."""
        return y

    def total(self, x: np.ndarray, axes: Axes, block: int = BLOCK, *, wide: bool = True) -> np.ndarray:
        """The sum over `axes`, which stay with length 1.

        Kernels add in order within blocks of `block` values, and half precisions in float32 where it is `wide`.
        """
        return x.sum(axes, keepdims=True)

    def products(self, form: Bilinear, a: np.ndarray, b: np.ndarray, terms: int) -> np.ndarray:
        """form(a, b), of which every value is a sum of `terms` products of a value of a and one of b."""
        return form(a, b)

    def accumulate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `Tape.accumulate`."""
        return self.rounded(a + b)

    def summed(self, gradient: np.ndarray, operand: np.ndarray | float) -> np.ndarray:
        """A gradient summed over the axes along which `operand` was broadcast."""
        shape = np.shape(operand)
        shape = (1,) * (gradient.ndim - len(shape)) + shape
        axes = tuple(i for i, side in enumerate(shape) if side < gradient.shape[i])
        return (self.total(gradient, axes, wide=False) if axes else gradient).reshape(np.shape(operand))

    def add(self, a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
        """a + b."""
        y = self.rounded(a + b)
        return self.record(y, (a, lambda g: self.summed(g, a)), (b, lambda g: self.summed(g, b)))

    def sub(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a - b."""
        y = self.rounded(a - b)
        return self.record(y, (a, lambda g: self.summed(g, a)), (b, lambda g: -self.summed(g, b)))

    def mul(self, a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
        """a * b."""
        y = self.rounded(a * b)
        return self.record(
            y,
            (a, lambda g: self.summed(self.rounded(g * b), a)),
            (b, lambda g: self.summed(self.rounded(g * a), b)),
        )

    def div(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a / b; by values that are broadcast kernels do not divide, they multiply by the reciprocal."""
        function = "quotient" if b.size >= a.size else ""
        y = self.rounded(a / b, function)
        return self.record(
            y,
            (a, lambda g: self.summed(self.rounded(g / b, function), a)),
            (b, lambda g: self.summed(self.rounded(-g * self.rounded(y / b, function)), b)),
        )

    def sqrt(self, x: np.ndarray) -> np.ndarray:
        """The square root, which kernels take the reciprocal of."""
        y = self.rounded(np.sqrt(x), "reciprocal root")
        return self.record(y, (x, lambda g: self.rounded(g / (2 * y), "quotient")))

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + exp(-x)), without overflow."""
        e = self.rounded(np.exp(-np.abs(x)), "exponential")
        y = self.rounded(np.where(x < 0, e, 1.0) / self.rounded(e + 1.0), "reciprocal")
        return self.record(y, (x, lambda g: self.rounded(g * self.rounded(y * self.rounded(1 - y)))))

    def relu(self, x: np.ndarray) -> np.ndarray:
        """max(x, 0), NaN where x is; its derivative at 0 is 0."""
        side = self.beside_kink(x)
        return self.record(np.maximum(side, 0.0), (x, lambda g: g * (side > 0)))

    def beside_kink(self, x: np.ndarray) -> np.ndarray:
        """Move x to one side of a ReLU's kink or the other."""
        return x

    def clip(self, x: np.ndarray, low: float, high: float) -> np.ndarray:
        """x cut to [low, high]; its derivative on that closed interval is 1."""
        return self.record(np.clip(x, low, high), (x, lambda g: g * ((x >= low) & (x <= high))))

    def mean(self, x: np.ndarray, axes: Axes, block: int = BLOCK) -> np.ndarray:
        """The mean over `axes`, which stay with length 1; for `block` see `total`."""
        total = self.total(x, axes, block)
        count = x.size // total.size
        y = self.rounded(total / count)
        return self.record(y, (x, lambda g: np.broadcast_to(self.rounded(g / count), x.shape)))

    def standardise(self, x: np.ndarray, mean: np.ndarray, var: np.ndarray, epsilon: float) -> np.ndarray:
        """(x - mean) / sqrt(var + epsilon) for the mean and variance of x over (n, h, w), which are x's too.

        Its gradient is r * (g - mean(g) - y * mean(g * y)), r = 1 / sqrt(var + epsilon), as fused kernels compute it:
        that takes the mean of y for zero, so an error of `mean` shows in it, as it does not in the gradients of the
        single operations.
        """
        axes = (0, 2, 3)
        root = self.rounded(np.sqrt(self.rounded(var + epsilon)), "reciprocal root")
        y = self.rounded(self.rounded(x - mean) / root)

        def vjp(g: np.ndarray) -> np.ndarray:
            count = x.size // mean.size
            along_ones = self.rounded(self.total(g, axes) / count)
            along_y = self.rounded(self.total(self.rounded(g * y), axes) / count)
            return self.rounded(self.rounded(self.rounded(g - along_ones) - self.rounded(y * along_y)) / root)

        return self.record(y, (x, vjp))

    def amax(self, x: np.ndarray, axes: Axes) -> np.ndarray:
        """The maximum over `axes`, which stay with length 1; NaN if there is one; the gradient is the first place's."""
        return self.record(x.max(axes, keepdims=True), (x, lambda g: g * is_first_maximum(x, axes)))

    def cross_entropy(self, x: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The mean over places of log(sum over c of exp(x)) - x at the place's class, as an array of one value.

        x is (n, c) or (n, c, h, w), `classes` the same without c.
        """
        count = classes.size
        shifted = self.rounded(x - x.max(1, keepdims=True))
        e = self.rounded(np.exp(shifted), "exponential")
        total = self.total(e, 1)
        chosen = np.moveaxis(np.arange(x.shape[1]) == classes[..., None], -1, 1)
        at_class = (shifted * chosen).sum(1, keepdims=True)
        losses = self.rounded(self.rounded(np.log(total), "logarithm") - at_class)
        y = self.rounded(self.total(losses, tuple(range(x.ndim)), block=count) / count)
        return self.record(
            y,
            (
                x,
                lambda g: self.rounded(
                    self.rounded(self.rounded(e / total, "quotient") - chosen) * self.rounded(g / count)
                ),
            ),
        )

    def max_pool(self, x: np.ndarray) -> np.ndarray:
        """The maximum over 3x3 windows at stride 2, -inf around the map; the gradient is the first place's."""
        _, _, h, w = x.shape
        rows = self.record(shifted(x, 2), (x, lambda g: unshifted(g, 2, h)))  # 3 n c p w
        windows = self.record(shifted(rows, 4), (rows, lambda g: unshifted(g, 4, w)))  # 3 3 n c p q: columns, rows
        # Row by row, so that the first of a window's equal places is the map's first.
        windows = self.record(windows.swapaxes(0, 1), (windows, lambda g: g.swapaxes(0, 1)))
        y = self.amax(windows, (0, 1))
        return self.record(y[0, 0], (y, lambda g: g[None, None]))

    def subsample(self, x: np.ndarray, stride: int) -> np.ndarray:
        """Every stride-th row and column, from the first on."""

        def vjp(g: np.ndarray) -> np.ndarray:
            gradient = np.zeros(x.shape)
            gradient[:, :, ::stride, ::stride] = g
            return gradient

        return self.record(x[:, :, ::stride, ::stride], (x, vjp))

    def flatten(self, x: np.ndarray) -> np.ndarray:
        """(n, c, 1, 1) as (n, c)."""
        return self.record(x[:, :, 0, 0], (x, lambda g: g[:, :, None, None]))

    def linear(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """y[n,o] = bias[o] + sum over c of weight[o,c] * x[n,c,0,0]."""
        kernel = self.record(weight[:, :, None, None], (weight, lambda g: g[:, :, 0, 0]))
        return self.flatten(self.conv2d(x, kernel, bias, 1))

    def concat(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """The maps side by side along c."""
        ends = np.cumsum([0, *(x.shape[1] for x in maps)])
        vjps = [lambda g, i=i, j=j: g[:, i:j] for i, j in pairwise(ends)]
        return self.record(np.concatenate(maps, 1), *zip(maps, vjps, strict=True))

    def expand(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The map x repeated along its axes of length 1 until it has `shape`."""
        return self.record(np.broadcast_to(x, shape), (x, lambda g: self.summed(g, x)))

    def per_channel(self, x: np.ndarray) -> np.ndarray:
        """The values x (c) as a map (1, c, 1, 1)."""
        return self.record(x[None, :, None, None], (x, lambda g: g.ravel()))

    def conv2d(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, dilation: int) -> np.ndarray:
        """y[n,o,p,q] = bias[o] + sum over c,i,j of weight[o,c,i,j] * x[n,c,p+(i-k//2)*dilation,q+(j-k//2)*dilation].

        The kernel's sides are odd and the map is zero outside, so its size is kept.
        """
        y = self.sum_of_products(x, weight, dilation)
        if bias is None:
            return y
        # PyTorch's dilated convolution adds the gradients of a whole map in order, XLA in half precision of all maps.
        count = y[:, 0].size
        return self.record(
            self.rounded(y + bias[:, None, None]),
            (y, lambda g: g),
            (bias, lambda g: self.total(g, (0, 2, 3), count, wide=False).ravel()),
        )

    def sum_of_products(self, x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
        """`conv2d` without its bias."""
        side = weight.shape[-1]
        y = self.products(lambda a, b: correlate(a, b, dilation), x, weight, weight[0].size)

        def to_input(g: np.ndarray) -> np.ndarray:
            return self.products(lambda a, b: correlate_to_input(a, b, dilation), g, weight, weight[:, 0].size)

        def to_weight(g: np.ndarray) -> np.ndarray:
            terms = g[:, 0].size
            return self.products(lambda a, b: correlate_to_weight(a, b, side, dilation), g, x, terms)

        return self.record(y, (x, to_input), (weight, to_weight))


class Remembering(Exact):
    """Float64 as it is, which remembers what each ReLU was given."""

    def __init__(self) -> None:
        super().__init__()
        self.kinks: list[np.ndarray] = []

    def beside_kink(self, x: np.ndarray) -> np.ndarray:
        """See `Exact.beside_kink`."""
        self.kinks.append(x)
        return x


class Noisy(Exact):
    """Float64 with rounding errors of unit roundoff u drawn at random after every operation.

    With `in_order` sums are as those over channels-last maps. `accumulator` is the unit roundoff that wide sums are
    made with, u if none is given. The smallest results err by `least`, half the distance of the format's numbers there.
    `functions` has the largest relative errors of those that are approximate.

    Attributes:
        kinks: What each ReLU is given without errors, in order: those that rounding may open or shut are then turned.
    """

    def __init__(
        self,
        unit_roundoff: float,
        rng: np.random.Generator,
        *,
        accumulator: float | None = None,
        in_order: bool = False,
        least: float = 0.0,
        functions: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.functions = functions
        self.least = least
        self.unit_roundoff = unit_roundoff
        self.accumulator = unit_roundoff if accumulator is None else accumulator
        self.rng = rng
        self.in_order = in_order
        self.deviations: list[np.ndarray] = []
        self.place = 0
        self.kinks: Iterator[np.ndarray] = iter(())

    def next_draw(self) -> None:
        """Begin another pass of the same operations: its errors are new, their deviations those of the first pass."""
        self.place = 0

    def beside_kink(self, x: np.ndarray) -> np.ndarray:
        """See `Exact.beside_kink`."""
        exact = next(self.kinks, None)
        return x if exact is None else turned(x, exact)

    def rounded(self, y: np.ndarray, function: str = "") -> np.ndarray:
        """A result with the error of one operation: none where the format holds the result as it is.

        That of a function that is only approximated may be no such result even there.
        """
        error = y * (self.rng.random(y.shape, np.float32) - np.float32(0.5))
        bound = self.functions.get(function, 0.0)
        if bound > self.unit_roundoff:
            error *= 2 * bound
            error += y
            return error
        error *= 2 * self.unit_roundoff
        if self.least:
            small = np.abs(y) * self.unit_roundoff < self.least
            error[small] *= self.least / self.unit_roundoff / np.maximum(np.abs(y[small]), np.finfo(float).tiny)
        error *= ~self.holds(y)
        error += y
        return error

    def holds(self, y: np.ndarray) -> np.ndarray:
        """Whether the format holds each value as it is; float64, which holds them all, if float32 does."""
        held = y.astype(np.float32) == y
        if self.unit_roundoff > UNIT_ROUNDOFF["float32"] and held.any():
            split = y * (2.0**53 * self.unit_roundoff + 1)
            held &= split - (split - y) == y  # Dekker's way to cut a number
        if self.least:
            steps = y / (2 * self.least)
            held &= np.rint(steps) == steps
        return held

    def total(self, x: np.ndarray, axes: Axes, block: int = BLOCK, *, wide: bool = True) -> np.ndarray:
        """A sum with the errors of its additions."""
        y = x.sum(axes, keepdims=True)

        def deviation() -> np.ndarray:
            rows = np.moveaxis(x, axes, range(-np.size(axes), 0)).reshape(y.size, -1)
            partial = partial_sum(rows, rows.shape[1] if self.in_order else block)
            partial *= self.accumulator if wide else self.unit_roundoff
            return (partial * np.sqrt(independent(rows, partial / 2) / 3)).reshape(y.shape)

        return y + self.errors(deviation)

    def products(self, form: Bilinear, a: np.ndarray, b: np.ndarray, terms: int) -> np.ndarray:
        """Sums of products with their errors."""
        steps = np.log2(max(2, terms))
        variance = max(steps, terms / 6) if self.in_order else steps
        return self.rounded(form(a, b) + self.errors(lambda: self.accumulator * np.sqrt(form(a**2, b**2) * variance)))

    def errors(self, deviation: Callable[[], np.ndarray]) -> np.ndarray:
        """Normal errors; their deviation is that of the first pass, because another pass has hardly another."""
        if self.place == len(self.deviations):
            self.deviations.append(deviation().astype(np.float32))
        known = self.deviations[self.place]
        self.place += 1
        return known * self.rng.standard_normal(known.shape, np.float32)


def partial_sum(rows: np.ndarray, block: int) -> np.ndarray:
    """The size of the partial sums of each row's blocks, in the order given or a random one: where it is larger."""
    blocks = np.split(rows, range(block, rows.shape[1], block), axis=1)
    given = sum((part.cumsum(1) ** 2).sum(1) for part in blocks) / rows.shape[1]
    block = blocks[0].shape[1]
    return np.sqrt(np.maximum(given, rows.mean(1) ** 2 * block**2 / 3 + rows.var(1) * block / 2))


def independent(rows: np.ndarray, width: np.ndarray) -> np.ndarray:
    """As how many independent errors those of adding up each row count, values within one `width` being the same.

    The sum over a row's values that are not zero of 1 + (k - 1) * SAME_EXPONENT, where k of them are the same.
    """
    steps = np.floor(rows / np.maximum(width, np.finfo(float).tiny)[:, None])
    steps = np.sort(np.where(rows == 0, np.inf, steps))
    first = np.ones(steps.shape, bool)
    first[:, 1:] = steps[:, 1:] != steps[:, :-1]
    starts = np.flatnonzero(first)
    k = np.diff(starts, append=steps.size)
    counts = np.where(np.isfinite(steps.ravel()[starts]), k * (1 + (k - 1) * SAME_EXPONENT), 0.0)
    return np.bincount(starts // rows.shape[1], counts, len(rows))


def turned(x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """x, but on the other side of 0 where it is `exact` within so many of its channel's errors."""
    errors = np.sqrt(np.mean((x - exact) ** 2, (0, *range(2, x.ndim)), keepdims=True))
    return np.where(np.abs(exact) <= UNDECIDED * errors, -exact, x)


def is_first_maximum(x: np.ndarray, axes: Axes) -> np.ndarray:
    """1 at the place over `axes` that holds the maximum and is the first of those in their order, 0 elsewhere."""
    last = range(-np.size(axes), 0)
    moved = np.moveaxis(x, axes, last)
    flat = moved.reshape(*moved.shape[: last.start], -1)
    first = np.arange(flat.shape[-1]) == flat.argmax(-1)[..., None]
    return np.moveaxis(first.reshape(moved.shape), last, axes)


def shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """The map's values at -1, 0 and 1 from every other place along `axis`, -inf outside: (3, ...)."""
    sides = [(0, 0)] * x.ndim
    sides[axis] = (1, 1)
    padded = np.moveaxis(np.pad(x, sides, constant_values=-np.inf), axis, 0)
    return np.stack([np.moveaxis(padded[i : i + x.shape[axis] : 2], 0, axis) for i in range(3)])


def unshifted(gradient: np.ndarray, axis: int, side: int) -> np.ndarray:
    """The gradient of `shifted` with respect to x, which has `side` places along `axis`, from that of its result."""
    moved = np.moveaxis(gradient, axis + 1, 1)
    padded = np.zeros((side + 2, *moved.shape[2:]))
    for i in range(3):
        padded[i : i + side : 2] += moved[i]
    return np.moveaxis(padded[1:-1], 0, axis)
