"""The float64 reference is right to its last digits: the modules once more from their formulas, in 50 digits."""

from itertools import product

import numpy as np
import pytest
from mpmath import mp, mpf

from parity.reference import modules as reference
from parity.reference.arithmetic import Exact
from parity.reference.evaluate import Drawn, evaluate

DIGITS = 50
# A central difference in 50 digits: its own error is about STEP^2, and 10^-50 / STEP where it cancels.
STEP = mpf(10) ** -16
# Of the largest value of an array; a unit in the last place of a float64 is up to 2.2e-16 of a value.
LIMIT = 4e-15
# Of each array's gradient so many elements are differentiated.
ELEMENTS = 2
EPSILON = mpf(float(np.float32(1e-5)))


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(DIGITS):
        yield


def exactly(array):
    return np.array([mpf(float(value)) for value in array.ravel()], object).reshape(array.shape)


def each(function, *arrays):
    return np.array([function(*values) for values in zip(*(a.ravel() for a in arrays), strict=True)], object).reshape(
        arrays[0].shape
    )


def mean(x):
    """Over (h, w), which stay."""
    return (x.sum((2, 3)) / (x.shape[2] * x.shape[3]))[:, :, None, None]


def largest(x, axis):
    return x.max(axis, keepdims=True)


def sigmoid(x):
    return each(lambda value: 1 / (1 + mp.exp(-value)), x)


def relu(x):
    return each(lambda value: max(value, mpf(0)), x)


def convolution(x, w, key, *, stride=1, dilation=1):
    weight, bias = w[f"{key}.weight"], w.get(f"{key}.bias")
    (n, _, rows, columns), (o, _, k, _) = x.shape, weight.shape
    y = np.full((n, o, -(-rows // stride), -(-columns // stride)), mpf(0), object)
    for m, q, p, r in np.ndindex(*y.shape):
        if bias is not None:
            y[m, q, p, r] += bias[q]
        for i, j in product(range(k), repeat=2):
            row, column = p * stride + (i - k // 2) * dilation, r * stride + (j - k // 2) * dilation
            if 0 <= row < rows and 0 <= column < columns:
                y[m, q, p, r] += sum((weight[q, :, i, j] * x[m, :, row, column]).tolist(), mpf(0))
    return y


def batch_norm(x, w, key, *, train):
    shape = (1, -1, 1, 1)
    if train:
        count = x.size // x.shape[1]
        center = (x.sum((0, 2, 3)) / count).reshape(shape)
        variance = (((x - center) ** 2).sum((0, 2, 3)) / count).reshape(shape)
    else:
        center, variance = w[f"{key}.running_mean"].reshape(shape), w[f"{key}.running_var"].reshape(shape)
    standard = (x - center) / each(mp.sqrt, variance + EPSILON)
    return standard * w[f"{key}.weight"].reshape(shape) + w[f"{key}.bias"].reshape(shape)


def se(x, w, prefix="", *, train=False):
    hidden = relu(convolution(mean(x), w, f"{prefix}fc1"))
    return x * sigmoid(convolution(hidden, w, f"{prefix}fc2"))


def cbam(x, w, *, train):
    def mlp(y):
        return convolution(relu(convolution(y, w, "channel.fc1")), w, "channel.fc2")

    x = x * sigmoid(mlp(mean(x)) + mlp(largest(x, (2, 3))))
    both = np.concatenate([(x.sum(1) / x.shape[1])[:, None], largest(x, 1)], 1)
    return x * sigmoid(batch_norm(convolution(both, w, "spatial.conv"), w, "spatial.norm", train=train))


def aspp(x, w, *, train):
    def layer(y, key, **options):
        return relu(batch_norm(convolution(y, w, f"{key}.conv", **options), w, f"{key}.norm", train=train))

    maps = [layer(x, "branches.0"), layer(x, "branches.1", dilation=2)]
    pooled = np.broadcast_to(layer(mean(x), "pool"), maps[0].shape)
    return layer(np.concatenate([*maps, pooled], 1), "project")


def basic_block(x, w, *, train):
    y = relu(batch_norm(convolution(x, w, "conv1", stride=2), w, "bn1", train=train))
    y = se(batch_norm(convolution(y, w, "conv2"), w, "bn2", train=train), w, "se.")
    shortcut = batch_norm(convolution(x, w, "downsample.0", stride=2), w, "downsample.1", train=train)
    return relu(y + shortcut)


CASES = {
    "SE": (se, lambda: reference.SE(4, reduction=2), (2, 4, 3, 2)),
    "CBAM": (cbam, lambda: reference.CBAM(4, reduction=2, kernel_size=3, norm=True), (2, 4, 3, 3)),
    "ASPP": (aspp, lambda: reference.ASPP(2, 2, rates=(2,), dropout=0.0), (4, 2, 3, 3)),
    "BasicBlock": (basic_block, lambda: reference.BasicBlock(2, 4, stride=2, reduction=2), (2, 2, 2, 4)),
}


def draw(model, shape, rng):
    def one(key, side):
        if key.endswith("running_var") or (len(side) == 1 and key.endswith("weight")):
            return rng.uniform(0.5, 1.5, side)
        return rng.standard_normal(side)

    weights = {key: one(key, side) for key, side in reference.shapes(model).items()}
    return weights, rng.standard_normal(shape)


def off(array, truth):
    """The largest error relative to the largest value."""
    return float(max(abs(exactly(array) - truth).ravel()) / max(abs(truth).ravel()))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_right_in_float64(name, train):
    formula, make, shape = CASES[name]
    rng, model = np.random.default_rng(0), make()
    weights, x = draw(model, shape, rng)
    leaves = {key: exactly(array) for key, array in weights.items()} | {"input": exactly(x)}
    truth = formula(leaves["input"], leaves, train=train)
    cotangent = rng.standard_normal(truth.shape)
    exact_cotangent = exactly(cotangent)
    found = evaluate(model, Drawn(weights, x, cotangent), Exact(), ("forward", "gradients"), train=train)
    assert off(found["forward"]["output"], truth) <= LIMIT

    def loss():
        return (formula(leaves["input"], leaves, train=train) * exact_cotangent).sum()

    for key, gradient in found["gradients"].items():
        leaf, scale = leaves[key].ravel(), np.abs(gradient).max()
        for place in rng.permutation(leaf.size)[:ELEMENTS]:
            value = leaf[place]
            ends = []
            for step in (STEP, -STEP):
                leaf[place] = value + step
                ends.append(loss())
            leaf[place] = value
            difference = (ends[0] - ends[1]) / (2 * STEP)
            error = float(abs(mpf(float(gradient.ravel()[place])) - difference))
            assert error <= LIMIT * scale, f"{key} {place}: {error / scale:.2g}"
