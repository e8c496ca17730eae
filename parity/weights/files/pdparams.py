"""`.pdparams`: the pickle of a dictionary of NumPy arrays, as `paddle.save` writes it; Paddle is not needed.

bfloat16 is stored as the bits in uint16, and every uint16 is bfloat16, for Paddle has no such integers. The metadata
is a second pickle behind the first, where `paddle.load` does not look.
"""

from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from ...errors import ParityError
from . import limits, pickling
from .budget import Budget
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .pickled import NUMPY, Array
from .unpickle import Window, unpickle
from .wrappers import unwrap

_NAMES = "StructuredToParameterName@@"
_CODES = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2"} | {
    name: np.dtype(name).str[1:] for name in ("int64", "int32", "int16", "int8", "uint8", "bool")
}


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The file's arrays as views of it; see `unpickle` for what is refused, and `pt.read` for the arguments."""
    mapped = limits.open_mapped(path)
    budget = budget or Budget(len(mapped))
    window = Window(mapped, budget)
    tree = unpickle(window, NUMPY)
    metadata = limits.check_metadata(unpickle(window, {})) if window.position < len(mapped) else {}
    # Other programs pickle dictionaries of arrays too, which then tell by their names whose they are.
    is_paddle = path.suffix == ".pdparams" or (isinstance(tree, dict) and _NAMES in tree)
    if isinstance(tree, dict):
        tree.pop(_NAMES, None)
    found = unwrap(tree, budget, _is_array, _filled, key=key, path=path)
    framework = "paddle" if is_paddle else None
    return Contents(found.arrays, metadata, framework, found.skipped, (mapped,), found.taken)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write the arrays as NumPy pickles itself, one after another."""
    file.write(pickling.PROTOCOL_4 + pickling.EMPTY_DICT + pickling.MARK)
    for key, array in arrays.items():
        file.write(pickling.text(limits.check_name(key)) + _head(array))
        array.write(file, advance)
        file.write(pickling.TUPLE + pickling.BUILD)
    names = pickling.texts({key: key for key in arrays})
    file.write(pickling.text(_NAMES) + names + pickling.SET_ITEMS + pickling.STOP)
    if metadata:
        file.write(pickling.PROTOCOL_4 + pickling.texts(dict(metadata)) + pickling.STOP)


def _is_array(value: Any) -> bool:
    """Whether the value is an array, or the name and the array that `paddle.save` writes in deeper dictionaries."""
    return isinstance(value, Array) or (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array))


def _filled(value: Any) -> Any:
    """The tree's value."""
    if not _is_array(value):
        return value
    value = value[1] if isinstance(value, tuple) else value
    if value.array is None:
        raise ParityError("the pickle has an array that was never filled")
    return value.array.view(ml_dtypes.bfloat16) if value.array.dtype == np.uint16 else value.array


def _head(array: Outgoing) -> bytes:
    """Everything of an array's pickle up to its bytes, in the names that NumPy 1 and 2 both know."""
    if array.dtype.name not in _CODES:
        raise ParityError(f"a .pdparams cannot say {array.dtype}")
    code = _CODES[array.dtype.name]
    order = pickling.text("|" if code in ("i1", "u1", "b1") else "<")
    unused = pickling.NONE * 3 + pickling.integer(-1) * 2 + pickling.integer(0)
    dtype = pickling.call("numpy", "dtype", pickling.text(code), pickling.FALSE, pickling.TRUE)
    dtype += pickling.pack(pickling.integer(3), order, unused) + pickling.BUILD
    empty = pickling.sizes((0,)), pickling.binary(1) + b"b"
    made = pickling.call("numpy.core.multiarray", "_reconstruct", pickling.name("numpy", "ndarray"), *empty)
    state = pickling.integer(1) + pickling.sizes(array.shape) + dtype + pickling.FALSE
    return made + pickling.MARK + state + pickling.binary(array.nbytes)
