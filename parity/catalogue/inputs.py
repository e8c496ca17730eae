"""The inputs and weights of the cases: a photograph's features or seeded values, and seeded weights.

Everything drawn is exact in float32, so float32 and float64 runs get the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import numpy as np

from ..arrays import Arrays
from ..errors import ParityError
from .cases import Case
from .trained import adapt

# A stranger's file may claim any size: 64 million pixels are 192 MB.
MAX_PIXELS = 2**26
# Formats that Pillow decodes by itself: some of the others start programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def default_image() -> Path:
    """The photograph that matplotlib ships: Grace Hopper, public domain, 512 x 600 pixels."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ParityError("matplotlib, whose photograph is the default input, is not installed; give --image FILE")
    return Path(spec.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"


def read_image(path: Path) -> np.ndarray:
    """The photograph as (rows, columns, 3) bytes.

    Raises:
        ParityError: for a file that is missing, no image, or of more than MAX_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ParityError(f"{path} has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise ParityError(f"{path} is not there; an image file is needed") from None
    except UnidentifiedImageError:
        raise ParityError(f"{path} is not an image ({', '.join(FORMATS)})") from None
    except ParityError:
        raise
    # Pillow's decoders raise many kinds of exception on damaged files.
    except Exception as error:
        raise ParityError(f"{path} cannot be read as an image: {error}") from None


def draw_input(case: Case, image: np.ndarray, seed: int) -> np.ndarray:
    """The case's input (n, c, h, w) in float32.

    Raises:
        ParityError: where the image is too small for the case.
    """
    rng = _generator(case, "input", seed)
    if case.input == "photo":
        return crops(image, case.shape)
    if case.input == "normal":
        return rng.standard_normal(case.shape, np.float32)
    if case.input == "integers":
        return rng.integers(-3, 4, case.shape).astype(np.float32)
    if case.input == "offset":
        return 64 + rng.standard_normal(case.shape, np.float32)
    if case.input == "constant":
        return np.broadcast_to(rng.standard_normal((1, case.shape[1], 1, 1), np.float32), case.shape).copy()
    if case.input == "far":
        return _far(case.shape, rng)
    if case.input == "tiny":
        return np.float32(1e-11) * rng.standard_normal(case.shape, np.float32)
    raise ParityError(f"{case.name} has the unknown input {case.input!r}")


def _far(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values far from 0: each channel has a size and a sign, and in the first image all are large and negative."""
    sizes = 10 ** rng.uniform(2, 4, (*shape[:2], 1, 1))
    signs = rng.choice([-1, 1], sizes.shape)
    sizes[0], signs[0] = 10 ** rng.uniform(3.2, 4, sizes[0].shape), -1
    return (signs * sizes * rng.uniform(0.7, 1, shape)).astype(np.float32)


def draw_cotangent(case: Case, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw the output's cotangent, of its shape: the loss of the gradients is sum(output * cotangent)."""
    return _generator(case, "cotangent", seed).standard_normal(shape, np.float32)


def crops(image: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """N windows along the image's diagonal, pixel-unshuffled to c channels: (pixel - 128) / 64 in float32.

    Blocks of r x r pixels of three colours become 3 r^2 >= c channels, of which the first c are taken.
    """
    n, c, h, w = shape
    r = int(np.ceil(np.sqrt(c / 3)))
    rows, columns, _ = image.shape
    if rows < h * r or columns < w * r:
        raise ParityError(f"the image has {columns} x {rows} pixels, this case needs at least {w * r} x {h * r}")
    tops = np.linspace(0, rows - h * r, n + 2).astype(int)[1:-1]
    lefts = np.linspace(0, columns - w * r, n + 2).astype(int)[1:-1]
    windows = [image[top : top + h * r, left : left + w * r] for top, left in zip(tops, lefts, strict=True)]
    blocks = np.stack(windows).reshape(n, h, r, w, r, 3)
    maps = blocks.transpose(0, 5, 2, 4, 1, 3).reshape(n, 3 * r * r, h, w)[:, :c]
    # In order, for safetensors writes the memory as it lies: up to three channels are still a view here.
    return (np.ascontiguousarray(maps, np.float32) - 128) / 64


def draw_weights(case: Case, shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Canonical weights in float32: kernels of deviation gain * sqrt(2 / fan-in), norms away from the identity.

    Those of a case that wants them trained are made of these, see `trained`.
    """
    rng = _generator(case, "weights", seed)
    weights = {key: _draw(key.rpartition(".")[2], shape, case.gain, rng) for key, shape in shapes.items()}
    return adapt(weights, case.kwargs.get("slope", 1 / 6), rng) if case.weights == "trained" else weights


def _draw(leaf: str, shape: tuple[int, ...], gain: float, rng: np.random.Generator) -> np.ndarray:
    if len(shape) > 1:
        deviation = gain * np.sqrt(2 / np.prod(shape[1:]))
        return (deviation * rng.standard_normal(shape)).astype(np.float32)
    if leaf in ("weight", "running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (0.5 * rng.standard_normal(shape)).astype(np.float32)


def _generator(case: Case, what: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(f"{case.name} {what}".encode())])


@dataclass(frozen=True)
class Drawn:
    """A case's arrays: canonical weights, the input (n, c, h, w) and the cotangent of the output."""

    weights: Arrays
    x: np.ndarray
    cotangent: np.ndarray

    def rounded(self, dtype: str) -> "Drawn":
        """The same numbers as `dtype` holds them."""
        weights = {key: array.astype(dtype) for key, array in self.weights.items()}
        return Drawn(weights, self.x.astype(dtype), self.cotangent.astype(dtype))
