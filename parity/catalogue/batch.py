"""An image alone and among others: a batch of eight in which one place holds what is also computed by itself."""

import numpy as np

SIZE = 8
# Neither the first nor the last, and a different place within each block of four.
PLACE = 5


def alone(x: np.ndarray) -> np.ndarray:
    """The image, (n, c, h, w) to (1, c, h, w)."""
    return x[[PLACE % len(x)]]


def among(x: np.ndarray) -> np.ndarray:
    """A batch (8, c, h, w) with the image at PLACE; the others are the case's images, each moved along its rows."""
    return np.stack([np.roll(x[i % len(x)], i - PLACE, -1) for i in range(SIZE)])
