"""A convolution that keeps the map's size, and its gradients: odd kernels, stride 1, zeros outside the map."""

from collections.abc import Iterator

import numpy as np


def correlate(x: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    """y[n,o,p,q] = sum over c,i,j of weight[o,c,i,j] * x[n,c,p+(i-k//2)*dilation,q+(j-k//2)*dilation]."""
    n, c, h, w = x.shape
    y = np.zeros((n, len(weight), h * w))
    for i, j, window in _windows(x, weight.shape[2:], dilation):
        y += weight[:, :, i, j] @ window.reshape(n, c, h * w)
    return y.reshape(n, -1, h, w)


def correlate_to_input(gradient: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    """The gradient of `correlate` with respect to x, from that of y."""
    return correlate(gradient, weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), dilation)


def correlate_to_weight(gradient: np.ndarray, x: np.ndarray, side: int, dilation: int) -> np.ndarray:
    """The gradient of `correlate` with respect to its weight (o, c, side, side), from that of y."""
    n, c, h, w = x.shape
    o = gradient.shape[1]
    flat = gradient.transpose(1, 0, 2, 3).reshape(o, n * h * w)
    result = np.zeros((o, c, side, side))
    for i, j, window in _windows(x, (side, side), dilation):
        result[:, :, i, j] = flat @ window.transpose(1, 0, 2, 3).reshape(c, n * h * w).T
    return result


def _windows(x: np.ndarray, sides: tuple[int, ...], dilation: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each tap i, j of the kernel that sees part of the map: the map as that tap sees it."""
    n, c, h, w = x.shape
    top, left = (side // 2 * dilation for side in sides)
    padded = np.zeros((n, c, h + 2 * top, w + 2 * left))
    padded[:, :, top : top + h, left : left + w] = x
    for i in range(sides[0]):
        for j in range(sides[1]):
            p, q = i * dilation, j * dilation
            if p + h > top and p < top + h and q + w > left and q < left + w:
                yield i, j, padded[:, :, p : p + h, q : q + w]
