"""The arithmetic that the reference is written in: exact, or with the rounding errors that a precision must make.

Arrays are float64 and maps (n, c, h, w). `Exact` computes as float64 does. `Noisy` adds to the result of every
operation a random error of the size that an honest computation in a format of unit roundoff u makes there:

- one operation: uniform in u * |y| * [-1, 1], of deviation u / sqrt(3);
- a convolution's sum of n products: of deviation u * sqrt(sum of their squares) * sqrt(log2 n) more, as if in pairs;
- a mean of n values of mean m and deviation s: kernels add in order within blocks, here of B = min(n, BLOCK) values.
  The partial sums of a block wander as m * k + s * sqrt(k), each rounded once, and n / B blocks do so independently:
  of deviation u / sqrt(3) * sqrt((m^2 B^2 / 3 + s^2 B / 2) / n) more. Where the values are equal, to within a partial
  sum's rounding, the additions err all the same way instead: of deviation u * |m| * B / 8 more.
"""

from collections.abc import Sequence

import numpy as np

# Unit roundoff: the largest relative error of rounding to nearest.
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

# XLA adds 200 values in order, 4500 in blocks; Paddle's batch norm and PyTorch add in lanes.
BLOCK = 256

Axes = int | tuple[int, ...]


class Exact:
    """Float64 as it is."""

    def rounded(self, y: np.ndarray) -> np.ndarray:
        """What the result y of an operation becomes."""
        return y

    def add(self, a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
        """a + b."""
        return self.rounded(a + b)

    def sub(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a - b."""
        return self.rounded(a - b)

    def mul(self, a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
        """a * b."""
        return self.rounded(a * b)

    def div(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a / b."""
        return self.rounded(a / b)

    def sqrt(self, x: np.ndarray) -> np.ndarray:
        """The square root."""
        return self.rounded(np.sqrt(x))

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + exp(-x)), without overflow."""
        e = self.rounded(np.exp(-np.abs(x)))
        return self.div(np.where(x < 0, e, 1.0), self.add(e, 1.0))

    def relu(self, x: np.ndarray) -> np.ndarray:
        """max(x, 0), NaN where x is."""
        return np.maximum(x, 0.0)

    def mean(self, x: np.ndarray, axes: Axes) -> np.ndarray:
        """The mean over `axes`, which stay with length 1."""
        return self.rounded(x.mean(axes, keepdims=True))

    def amax(self, x: np.ndarray, axes: Axes) -> np.ndarray:
        """The maximum over `axes`, which stay with length 1; NaN if there is one."""
        return x.max(axes, keepdims=True)

    def max_pool(self, x: np.ndarray) -> np.ndarray:
        """The maximum over 3x3 windows at stride 2, the map surrounded by -inf; ties as of columns, then of rows."""
        return self.amax(shifted(self.amax(shifted(x, 2), 0)[0], 3), 0)[0]

    def subsample(self, x: np.ndarray, stride: int) -> np.ndarray:
        """Every stride-th row and column, from the first on."""
        return x[:, :, ::stride, ::stride]

    def flatten(self, x: np.ndarray) -> np.ndarray:
        """(n, c, 1, 1) as (n, c)."""
        return x[:, :, 0, 0]

    def linear(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """y[n,o] = bias[o] + sum over c of weight[o,c] * x[n,c,0,0]."""
        return self.flatten(self.conv2d(x, weight[:, :, None, None], bias, 1))

    def concat(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """The maps side by side along c."""
        return np.concatenate(maps, 1)

    def conv2d(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, dilation: int) -> np.ndarray:
        """y[n,o,p,q] = bias[o] + sum over c,i,j of weight[o,c,i,j] * x[n,c,p+(i-k//2)*dilation,q+(j-k//2)*dilation].

        The kernel's sides are odd and the map is zero outside, so its size is kept.
        """
        y = self.sum_of_products(x, weight, dilation)
        return y if bias is None else self.add(y, bias[:, None, None])

    def sum_of_products(self, x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
        """`conv2d` without its bias."""
        return _correlate(x, weight, dilation)


class Noisy(Exact):
    """Float64 with rounding errors of unit roundoff u drawn at random after every operation."""

    def __init__(self, unit_roundoff: float, rng: np.random.Generator) -> None:
        self.unit_roundoff = unit_roundoff
        self.rng = rng

    def rounded(self, y: np.ndarray) -> np.ndarray:
        """A result with the error of one operation."""
        return y * (1 + self.unit_roundoff * self.rng.uniform(-1, 1, y.shape))

    def mean(self, x: np.ndarray, axes: Axes) -> np.ndarray:
        """A mean with the error of its sum and of the division."""
        y = x.mean(axes, keepdims=True)
        count = x.size // y.size
        block = min(count, BLOCK)
        variance = x.var(axes, keepdims=True)
        walk = np.sqrt((y**2 * block**2 / 3 + variance * block / 2) / (3 * count))
        equal = variance <= (self.unit_roundoff * block * y) ** 2
        return self.rounded(y + self.errors(np.where(equal, np.abs(y) * block / 8, walk)))

    def sum_of_products(self, x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
        """A convolution with the error of its sums."""
        y = _correlate(x, weight, dilation)
        terms = max(2, weight[0].size)
        return self.rounded(y + self.errors(np.sqrt(_correlate(x**2, weight**2, dilation) * np.log2(terms))))

    def errors(self, spread: np.ndarray) -> np.ndarray:
        """Normal errors of deviation u * spread."""
        return self.unit_roundoff * spread * self.rng.standard_normal(spread.shape)


def shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """The map's values at -1, 0 and 1 from every other place along `axis`, -inf outside: (3, ...)."""
    sides = [(0, 0)] * x.ndim
    sides[axis] = (1, 1)
    padded = np.moveaxis(np.pad(x, sides, constant_values=-np.inf), axis, 0)
    return np.stack([np.moveaxis(padded[i : i + x.shape[axis] : 2], 0, axis) for i in range(3)])


def _correlate(x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    n, c, h, w = x.shape
    o, _, rows, columns = weight.shape
    top, left = rows // 2 * dilation, columns // 2 * dilation
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    y = np.zeros((n, o, h * w))
    for i in range(rows):
        for j in range(columns):
            p, q = i * dilation, j * dilation
            if p + h <= top or p >= top + h or q + w <= left or q >= left + w:
                continue  # this tap sees only the zeros outside the map
            y += weight[:, :, i, j] @ padded[:, :, p : p + h, q : q + w].reshape(n, c, h * w)
    return y.reshape(n, o, h, w)
