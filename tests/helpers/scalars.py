"""The modules in scalars of few binary digits, each operation rounded: what the model of the noise is held against.

Written from the formulas, one loop for each sum; nothing of the reference is used. Arrays have an axis of draws in
front, along which nothing but the rounding differs.
"""

from functools import reduce

import numpy as np

DIGITS = 16
UNIT_ROUNDOFF = 2.0**-DIGITS
EPSILON = float(np.float32(1e-5))


def exact(y):
    return y


def nearest(y):
    mantissa, exponent = np.frexp(y)
    return np.ldexp(np.rint(np.ldexp(mantissa, DIGITS)), exponent - DIGITS)


class Stochastic:
    """To one of the two neighbours: to each as often as it is nearer, so that the result is right on average."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, y):
        mantissa, exponent = np.frexp(y)
        return np.ldexp(np.floor(np.ldexp(mantissa, DIGITS) + self.rng.random(np.shape(y))), exponent - DIGITS)


def in_order(q, terms):
    return reduce(lambda total, term: q(total + term), terms)


def in_pairs(q, terms):
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return q(in_pairs(q, terms[:half]) + in_pairs(q, terms[half:]))


def along(x, *axes):
    """The values along axes of (draws, n, c, h, w), as a list of arrays that keep those axes with length 1."""
    last = range(-len(axes), 0)
    moved = np.moveaxis(x, axes, last)
    flat = moved.reshape(*moved.shape[: last.start], -1)
    kept = tuple(1 if i in axes else side for i, side in enumerate(x.shape))
    return [flat[..., i].reshape(kept) for i in range(flat.shape[-1])]


def mean(q, x, *axes):
    terms = along(x, *axes)
    return q(in_order(q, terms) / len(terms))


def padded(x, reach):
    return np.pad(x, [(0, 0)] * 3 + [(reach, reach)] * 2)


def convolution(q, x, weight, add=in_order):
    """Each value of the map is a sum over c, i, j of a product; `weight` is (draws, o, c, k, k)."""
    (*_, h, w), k = x.shape, weight.shape[-1]
    around, maps = padded(x, k // 2), []
    taps = [(c, i, j) for c in range(x.shape[2]) for i in range(k) for j in range(k)]
    for o in range(weight.shape[1]):
        kernel = weight[:, o, ..., None, None, None]
        maps.append(add(q, [q(kernel[:, c, i, j] * around[:, :, c, i : i + h, j : j + w]) for c, i, j in taps]))
    return np.stack(maps, 2)


def convolution_to_input(q, g, weight, add=in_order):
    return convolution(q, g, weight[..., ::-1, ::-1].swapaxes(1, 2), add)


def convolution_to_weight(q, g, x, k, add=in_order):
    draws, n, o, h, w = g.shape
    around = padded(x, k // 2)
    gradient = np.zeros((draws, o, x.shape[2], k, k))
    for i in range(k):
        for j in range(k):
            window = around[..., i : i + h, j : j + w]
            places = [(m, p, r) for m in range(n) for p in range(h) for r in range(w)]
            terms = [q(g[:, m, :, None, p, r] * window[:, m, None, :, p, r]) for m, p, r in places]
            gradient[..., i, j] = add(q, terms)
    return gradient


def sigmoid(q, x):
    e = q(np.exp(-np.abs(x)))
    return q(np.where(x < 0, e, 1.0) / q(e + 1.0))


def sigmoid_back(q, g, y):
    return q(g * q(y * q(1 - y)))


def mean_case(q, weights, x, g, add):
    y = mean(q, x, 3, 4)
    return {"output": y, "input": np.broadcast_to(q(g / (x.shape[3] * x.shape[4])), x.shape)}


def convolution_case(q, weights, x, g, add):
    weight = weights["weight"]
    y = q(convolution(q, x, weight, add) + weights["bias"][:, None, :, None, None])
    return {
        "output": y,
        "input": convolution_to_input(q, g, weight, add),
        "weight": convolution_to_weight(q, g, x, weight.shape[-1], add),
        "bias": in_order(q, along(g, 1, 3, 4))[:, 0, :, 0, 0],
    }


def se_case(q, weights, x, g, add):
    """x * sigmoid(w2 relu(w1 mean(x) + b1) + b2), and back by hand."""
    w1, w2 = weights["fc1.weight"], weights["fc2.weight"]
    b1, b2 = (weights[key][:, None, :, None, None] for key in ("fc1.bias", "fc2.bias"))
    pooled = mean(q, x, 3, 4)
    hidden = np.maximum(q(convolution(q, pooled, w1, add) + b1), 0)
    gate = sigmoid(q, q(convolution(q, hidden, w2, add) + b2))
    g_gate = in_order(q, along(q(g * x), 3, 4))
    g2 = sigmoid_back(q, g_gate, gate)
    g1 = convolution_to_input(q, g2, w2, add) * (hidden > 0)
    g_pooled = q(convolution_to_input(q, g1, w1, add) / (x.shape[3] * x.shape[4]))
    return {
        "output": q(x * gate),
        "input": q(q(g * gate) + g_pooled),
        "fc1.weight": convolution_to_weight(q, g1, pooled, 1, add),
        "fc2.weight": convolution_to_weight(q, g2, hidden, 1, add),
    }


def spatial_case(q, weights, x, g, add):
    """x * sigmoid(conv([mean_c(x), max_c(x)])), and back by hand."""
    weight = weights["conv.weight"]
    both = np.concatenate([mean(q, x, 2), x.max(2, keepdims=True)], 2)
    gate = sigmoid(q, convolution(q, both, weight, add))
    g_gate = in_order(q, along(q(g * x), 2))
    g_logit = sigmoid_back(q, g_gate, gate)
    g_both = convolution_to_input(q, g_logit, weight, add)
    is_largest = x == x.max(2, keepdims=True)
    return {
        "output": q(x * gate),
        "input": q(q(q(g * gate) + g_both[:, :, 1:] * is_largest) + q(g_both[:, :, :1] / x.shape[2])),
        "conv.weight": convolution_to_weight(q, g_logit, both, weight.shape[-1], add),
    }


def batch_norm_case(q, weights, x, g, add):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta in train mode, and back as fused kernels compute it."""
    gamma, beta = (weights[key][:, None, :, None, None] for key in ("weight", "bias"))
    deviation = q(x - mean(q, x, 1, 3, 4))
    root = q(np.sqrt(q(mean(q, q(deviation * deviation), 1, 3, 4) + EPSILON)))
    standard = q(deviation / root)
    g_standard = q(g * gamma)
    along_ones, along_y = mean(q, g_standard, 1, 3, 4), mean(q, q(g_standard * standard), 1, 3, 4)
    return {
        "output": q(q(standard * gamma) + beta),
        "input": q(q(q(g_standard - along_ones) - q(standard * along_y)) / root),
        "weight": in_order(q, along(q(g * standard), 1, 3, 4))[:, 0, :, 0, 0],
        "bias": in_order(q, along(g, 1, 3, 4))[:, 0, :, 0, 0],
    }
