"""The inputs of both models: drawn from a shape, or read from files, in each side's order of axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..catalogue.inputs import read_image
from ..errors import ParityError
from ..frameworks.layout import relayout

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".ppm")
# The usual mean and deviation of the colours of photographs.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def from_shapes(shapes: Sequence[str], seed: int) -> list[np.ndarray]:
    """An array for each text: `2,3,64,64`, with few values `2,3,64,64:ties`, `2,16:int<1000`; float32 holds all."""
    rng = np.random.default_rng(seed)
    return [_draw(text, rng) for text in shapes]


def _draw(text: str, rng: np.random.Generator) -> np.ndarray:
    sizes, _, kind = text.partition(":")
    try:
        shape = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        most = int(kind.removeprefix("int<")) if kind not in ("", "ties") else 0
        if min(shape, default=0) < 1 or (kind not in ("", "ties") and (not kind.startswith("int<") or most < 1)):
            raise ValueError
    except ValueError:
        raise ParityError(
            "--shape must be sizes such as 2,3,64,64, of integers 2,16:int<1000 for values from 0 to 999, with equal"
            f" values and zeros 2,3,64,64:ties, got {text!r}"
        ) from None
    if kind == "ties":
        return rng.integers(-2, 3, shape).astype(np.float64)
    if kind:
        return rng.integers(0, most, shape)
    return rng.standard_normal(shape, np.float32).astype(np.float64)


def from_file(path: Path) -> list[np.ndarray]:
    """The arrays of an .npz or .npy file, or a photograph as (1, 3, rows, columns), normalised as ImageNet's are.

    Raises:
        ParityError: for a file that is none of these.
    """
    if path.suffix.lower() in IMAGES:
        pixels = (read_image(path).astype(np.float64) / 255 - MEAN) / DEVIATION
        return [exact(pixels.transpose(2, 0, 1)[None])]
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ParityError(f"--input must be .npz, .npy or an image ({', '.join(IMAGES)}), got {path}")
    try:
        found = np.load(path, allow_pickle=False)
        arrays = list(found.values()) if isinstance(found, np.lib.npyio.NpzFile) else [found]
    except FileNotFoundError:
        raise ParityError(f"{path} is not there; an input is needed") from None
    except Exception as error:
        raise ParityError(f"{path} cannot be read as arrays: {error}") from None
    return [check(array, str(path)) for array in arrays]


def check(array: np.ndarray, name: str) -> np.ndarray:
    """The array in float64 with values that float32 has too, or in int64.

    Raises:
        ParityError: for an array that is no numbers, empty, or not finite.
    """
    if array.dtype.kind in "iub":
        return array.astype(np.int64) if array.dtype.kind != "b" else array
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ParityError(f"{name} must hold real numbers or integers, got {array.dtype}")
    if not array.size:
        raise ParityError(f"{name} is empty: its shape is {array.shape}")
    if nans := int(np.count_nonzero(~np.isfinite(array.astype(np.float64)))):
        raise ParityError(f"{name} holds {nans} NaN or infinite of {array.size} values")
    return exact(array)


def exact(array: np.ndarray) -> np.ndarray:
    """The nearest values that float32 holds, in float64: float32 and float64 runs get the same numbers."""
    return array.astype(np.float32).astype(np.float64)


def for_port(arrays: Sequence[np.ndarray], axes: Mapping[int, str], moved: int) -> list[np.ndarray]:
    """The inputs as the port takes them.

    Args:
        arrays: As the original takes them.
        axes: For an input's number what `--axes` says: `ncl->nlc`.
        moved: 1 where the original has channels second and the port last, -1 the other way, 0 where both agree.
    """
    return [_turn(array, axes.get(i), moved) for i, array in enumerate(arrays)]


def _turn(array: np.ndarray, axes: str | None, moved: int) -> np.ndarray:
    if axes is not None:
        source, _, target = axes.partition("->")
        return np.ascontiguousarray(relayout(array, source.strip(), target.strip()))
    if not moved or array.ndim not in (4, 5) or array.dtype.kind != "f":
        return array
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if moved > 0 else np.moveaxis(array, -1, 1))


def parse_axes(values: Sequence[str], count: int) -> dict[int, str]:
    """Read `--axes` for each input: `ncl->nlc` for the next one, `1:ncl->nlc` for the one of that number."""
    found: dict[int, str] = {}
    for position, value in enumerate(values):
        number, colon, text = value.partition(":")
        index = int(number) if colon and number.isdigit() else position
        text = text if colon else value
        source, arrow, target = (part.strip() for part in text.partition("->"))
        if not arrow or sorted(source) != sorted(target) or len(set(source)) != len(source) or index >= count:
            raise ParityError(
                f"--axes must be such as ncl->nlc, or 1:ncl->nlc for the second of {count} inputs, got {value!r}"
            )
        found[index] = f"{source}->{target}"
    return found
