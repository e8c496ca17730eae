"""`.pt` and `.pth`: what `torch.save` makes of a state dict, as a zip archive or as before torch 1.6; no torch needed.

Read by the same interpreter as `.pdparams`, which knows fewer names than `torch.load(weights_only=True)`. The metadata
is an attribute of the dictionary, beside torch's own `_metadata`.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np

from ...errors import ParityError
from . import archive, limits, pickling
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .unpickle import NUMPY, Calls, Name, Ordered, Window, unpickle
from .wrappers import unwrap

_METADATA = "_parity_metadata"
_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
_DTYPES = {Name("torch", storage): limits.DTYPES[name] for name, storage in _STORAGES.items()}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class _Storage:
    """The numbers that tensors are windows of; where they lie is known when the pickle has been read."""

    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> Contents:
    """The file's tensors as views of it.

    Raises:
        ParityError: for what `unpickle` and `archive.members` refuse, and for a tensor that is not within its storage.
    """
    mapped = limits.open_mapped(path)
    tree, storages = _read_zip(mapped) if mapped[:2] == b"PK" else _read_legacy(mapped)
    arrays, skipped = unwrap(tree, partial(_filled, storages), len(mapped))
    metadata = tree.attributes.get(_METADATA, {}) if isinstance(tree, Ordered) else {}
    return Contents(arrays, limits.check_metadata(metadata), "torch", skipped, mapped)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write a zip archive: the pickle, and each tensor's storage as a member of its own."""
    data = _pickle(arrays, metadata)
    with ZipFile(file, "w") as target:
        for name, content in (("data.pkl", data), ("byteorder", b"little")):
            with archive.add(target, f"archive/{name}", len(content)) as member:
                member.write(content)
        for i, array in enumerate(arrays.values()):
            with archive.add(target, f"archive/data/{i}", array.nbytes) as member:
                array.write(member, advance)
        with archive.add(target, "archive/version", 2) as member:
            member.write(b"3\n")


def _read_zip(mapped: mmap.mmap) -> tuple[Any, dict[str, memoryview]]:
    members, _ = archive.members(mapped)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ParityError(f"a .pt must hold one data.pkl, got {len(pickles)}")
    top = pickles[0].removesuffix("data.pkl")
    if f"{top}byteorder" in members and members[f"{top}byteorder"].read(mapped) != b"little":
        raise ParityError("the tensors must be little-endian")
    if members[pickles[0]].size > limits.MAX_HEADER:
        raise ParityError(f"data.pkl must have at most {limits.MAX_HEADER} bytes")
    tree = unpickle(Window(members[pickles[0]].read(mapped)), _CALLS, _persistent)
    folder = f"{top}data/"
    storages = {
        name.removeprefix(folder): member.read(mapped) for name, member in members.items() if name.startswith(folder)
    }
    return tree, storages


def _read_legacy(mapped: mmap.mmap) -> tuple[Any, dict[str, memoryview]]:
    """Pickles one after another (a magic number, a version, the machine, the tree, the storages' keys), then bytes."""
    window = Window(mapped)
    if unpickle(window, {}) != _LEGACY_MAGIC or unpickle(window, {}) != _LEGACY_PROTOCOL:
        raise ParityError("neither a zip archive nor what torch wrote before 1.6")
    machine = unpickle(window, {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ParityError("the tensors must be little-endian")
    declared: dict[str, _Storage] = {}
    tree = unpickle(window, _CALLS, partial(_declare, declared))
    keys = unpickle(window, {})
    storages = {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in declared:
            raise ParityError("the file has a storage that no tensor uses")
        size = int.from_bytes(window.read(8), "little")
        window.limit = len(mapped)
        if size != declared[key].size:
            raise ParityError(f"storage {key} has {size} values, not the {declared[key].size} it should")
        storages[key] = memoryview(window.read(size * declared[key].dtype.itemsize))
        window.limit = 8
    return tree, storages


def _declare(declared: dict[str, _Storage], identity: Any) -> _Storage:
    storage = _persistent(identity[:5] if isinstance(identity, tuple) and identity[5:] == (None,) else identity)
    declared[storage.key] = storage
    return storage


def _persistent(identity: Any) -> _Storage:
    if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
        raise ParityError("a reference to data outside the pickle must be to a storage")
    _, kind, key, _, size = identity
    if not (isinstance(kind, Name) and kind in _DTYPES and isinstance(key, str) and type(size) is int):
        raise ParityError("a storage must have a type, a key, a place and a size")
    return _Storage(key, _DTYPES[kind], size)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    shape, strides = limits.check_shape(shape), limits.check_shape(strides)
    if not (isinstance(storage, _Storage) and type(offset) is int and offset >= 0 and len(shape) == len(strides)):
        raise ParityError("a tensor must have a storage, an offset, a shape and strides")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise ParityError(f"a tensor of shape {shape} must lie within its storage of {storage.size} values")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise ParityError("a parameter must be made of a tensor")
    return tensor


_CALLS: Calls = {
    **NUMPY,
    **dict.fromkeys(_DTYPES),
    Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _filled(storages: Mapping[str, memoryview], value: Any) -> Any:
    if not isinstance(value, _Tensor):
        return value
    dtype = value.storage.dtype
    data = storages.get(value.storage.key)
    if data is None or len(data) != value.storage.size * dtype.itemsize:
        raise ParityError(f"storage {value.storage.key[:40]!a} must have {value.storage.size} values of {dtype}")
    if 0 in value.shape:
        return np.zeros(value.shape, dtype)
    strides = [stride * dtype.itemsize for stride in value.strides]
    flat = np.frombuffer(data, dtype, offset=value.offset * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(flat, value.shape, strides, writeable=False)


def _pickle(arrays: Arrays, metadata: Mapping[str, str]) -> bytes:
    items = b"".join(pickling.text(limits.check_name(key)) + _tensor(i, a) for i, (key, a) in enumerate(arrays.items()))
    parts = [pickling.PROTOCOL_2, _ORDERED_DICT, pickling.MARK, items, pickling.SET_ITEMS]
    if metadata:
        attribute = pickling.text(_METADATA) + pickling.texts(dict(metadata))
        parts += [pickling.EMPTY_DICT, pickling.MARK, attribute, pickling.SET_ITEMS, pickling.BUILD]
    return b"".join((*parts, pickling.STOP))


def _tensor(index: int, array: Outgoing) -> bytes:
    if array.dtype.name not in _STORAGES:
        raise ParityError(f"a .pt cannot say {array.dtype}")
    size = array.view.size
    kind = pickling.name("torch", _STORAGES[array.dtype.name])
    identity = pickling.pack(
        pickling.text("storage"), kind, pickling.text(str(index)), pickling.text("cpu"), pickling.integer(size)
    )
    strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(len(array.shape)))
    return pickling.call(
        "torch._utils",
        "_rebuild_tensor_v2",
        pickling.persistent(identity),
        pickling.integer(0),
        pickling.sizes(array.shape),
        pickling.sizes(strides),
        pickling.FALSE,
        _ORDERED_DICT,
    )


_ORDERED_DICT = pickling.call("collections", "OrderedDict")
