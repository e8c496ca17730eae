"""`.pt` and `.pth`: what `torch.save` makes of a state dict, as a zip archive or as before torch 1.6; no torch needed.

Read by the same interpreter as `.pdparams`, which knows fewer names than `torch.load(weights_only=True)`. The metadata
is an attribute of the dictionary, beside torch's own `_metadata`.
"""

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np

from ...errors import ParityError
from . import archive, limits, others, pickling
from .budget import Budget
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .pickled import NUMPY, Array, Calls, Name, Ordered, Refused, objects
from .unpickle import Window, unpickle
from .wrappers import unwrap

_METADATA = "_parity_metadata"
_VERSIONS = "_metadata"  # torch's own: which version of its code wrote each layer
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
_KINDS = {Name("torch", storage): limits.DTYPES[name] for name, storage in _STORAGES.items()}
# Since torch 2.1 what has no storage of its own type is saved as bytes and a dtype.
_BYTES = Name("torch.storage", "UntypedStorage")
_KINDS[_BYTES] = np.dtype(np.uint8)
_DTYPES = {Name("torch", name): dtype for name, dtype in limits.DTYPES.items()}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class _Storage:
    """The numbers that tensors are windows of; where they lie is known when the pickle has been read."""

    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A window of a storage; `negative` where the values are those there with the other sign."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negative: bool


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The file's tensors as views of it.

    Args:
        path: The file.
        key: The name of the branch that holds the weights; see `wrappers.unwrap`.
        budget: What reading may cost, where more than this file pays it.

    Raises:
        ParityError: for what `unpickle` and `archive.members` refuse, and for a tensor that is not within its storage.
    """
    mapped = limits.open_mapped(path)
    budget = budget or Budget(len(mapped))
    tree, storages = (_read_zip if mapped[:2] == b"PK" else _read_legacy)(mapped, budget)
    fill = partial(_filled, storages, budget)
    found = unwrap(tree, budget, _is_tensor, fill, key=key, path=path)
    attributes = dict(tree.attributes) if isinstance(tree, Ordered) else {}
    metadata = limits.check_metadata(attributes.pop(_METADATA, {}))
    attributes.pop(_VERSIONS, None)
    skipped = (*found.skipped, *map(limits.check_name, attributes))
    return Contents(found.arrays, metadata, "torch", skipped, (mapped,), found.taken)


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


def _read_zip(mapped: mmap.mmap, budget: Budget) -> tuple[Any, dict[str, memoryview]]:
    members, _ = archive.members(mapped, budget)
    if (named := others.explain_archive(members)) is not None:
        raise ParityError(named)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ParityError(f"a .pt must hold one data.pkl, got {len(pickles)}")
    top = pickles[0].removesuffix("data.pkl")
    if f"{top}byteorder" in members and members[f"{top}byteorder"].read(mapped, budget) != b"little":
        raise ParityError("the tensors must be little-endian")
    tree = unpickle(Window(members[pickles[0]].read(mapped, budget), budget), _CALLS, _persistent)
    folder = f"{top}data/"
    storages = {
        name.removeprefix(folder): member.read(mapped, budget)
        for name, member in members.items()
        if name.startswith(folder)
    }
    return tree, storages


def _read_legacy(mapped: mmap.mmap, budget: Budget) -> tuple[Any, dict[str, memoryview]]:
    """Pickles one after another (a magic number, a version, the machine, the tree, the storages' keys), then bytes."""
    window = Window(mapped, budget)
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
        size = int.from_bytes(window.view(8), "little")
        if size != declared[key].size:
            raise ParityError(f"storage {key} has {size} values, not the {declared[key].size} it should")
        storages[key] = window.view(size * declared[key].dtype.itemsize)
    return tree, storages


def _declare(declared: dict[str, _Storage], identity: Any) -> Any:
    found = _persistent(identity[:5] if isinstance(identity, tuple) and identity[5:] == (None,) else identity)
    if isinstance(found, _Storage):
        declared[found.key] = found
    return found


def _persistent(identity: Any) -> Any:
    if isinstance(identity, tuple) and identity[:1] == ("module",) and len(identity) > 1:
        return identity[1]  # a class, which torch kept the source of before 1.6
    if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
        raise ParityError("a reference to data outside the pickle must be to a storage")
    _, kind, key, _, size = identity
    if not (isinstance(kind, Name) and kind in _KINDS and isinstance(key, str) and type(size) is int):
        raise ParityError("a storage must have a type, a key, a place and a size")
    return _Storage(key, _KINDS[kind], size)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, metadata: Any = None
) -> _Tensor:
    """Make the tensor of `torch._utils._rebuild_tensor_v2`; whether gradients are wanted is no part of a weight."""
    shape, strides = limits.check_shape(shape), limits.check_shape(strides)
    if not (isinstance(storage, _Storage) and type(offset) is int and offset >= 0 and len(shape) == len(strides)):
        raise ParityError("a tensor must have a storage, an offset, a shape and strides")
    _check_autograd(grad, hooks)
    # The step along an axis of one place is never taken, and need not be one that fits.
    strides = tuple(stride if side > 1 else 0 for side, stride in zip(shape, strides, strict=True))
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise ParityError(f"a tensor of shape {shape} must lie within its storage of {storage.size} values")
    return _Tensor(storage, offset, shape, strides, _negative(metadata))


def _rebuild_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> _Tensor:
    """Make the tensor of `torch._utils._rebuild_tensor_v3`, whose storage is one of bytes."""
    if not (isinstance(storage, _Storage) and isinstance(dtype, Name) and dtype in _DTYPES):
        raise ParityError("a tensor must have a storage and a dtype")
    wide = _DTYPES[dtype]
    if storage.dtype.itemsize != 1 or storage.size % wide.itemsize:
        raise ParityError(f"a storage of {storage.size} bytes cannot hold {wide}")
    storage = _Storage(storage.key, wide, storage.size // wide.itemsize)
    return _rebuild_tensor(storage, offset, shape, strides, grad, hooks, metadata)


def _negative(metadata: Any) -> bool:
    """Whether the tensor has its negative bit set: its values are those of the storage with the other sign."""
    bits = {} if metadata is None else metadata
    if not isinstance(bits, dict) or any(
        key not in ("neg", "conj") or type(value) is not bool for key, value in bits.items()
    ):
        raise ParityError("a tensor's metadata must be its negative and its conjugate bit")
    if bits.get("conj", False):
        raise ParityError("a tensor of real numbers cannot have its conjugate bit set")
    return bits.get("neg", False)


def _rebuild_parameter(tensor: Any, grad: Any, hooks: Any, state: Any = None) -> _Tensor:
    """The parameter's tensor; the attributes that it may have are no weights."""
    if not isinstance(tensor, _Tensor) or not isinstance(state, dict | None):
        raise ParityError("a parameter must be made of a tensor, and its attributes be a dictionary")
    _check_autograd(grad, hooks)
    return tensor


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> _Tensor:
    """Make the tensor of `torch._tensor._rebuild_from_type_v2`, without its attributes, which are no weights."""
    if not isinstance(kind, Name) or kind not in (Name("torch", "Tensor"), Name("torch.nn.parameter", "Parameter")):
        raise ParityError("a subclass of torch.Tensor, which is not read here; save tensor.as_subclass(torch.Tensor)")
    if not isinstance(function, Name) or function not in _TENSORS or not isinstance(args, tuple):
        raise ParityError("a tensor with attributes must be one of the usual kinds")
    return _TENSORS[function](*args)


def _rebuild_from_numpy(array: Any, dtype: Any, device: Any, grad: Any) -> Array:
    """Make the tensor of `_rebuild_device_tensor_from_numpy`, of a device for which torch saves an array."""
    if not (isinstance(array, Array) and isinstance(dtype, Name) and dtype in _DTYPES and isinstance(device, str)):
        raise ParityError("a device's tensor must have an array, a dtype and a device")
    if array.array is None or array.array.dtype != _DTYPES[dtype]:
        raise ParityError(f"a device's tensor of {dtype.name} must be saved as that; save tensor.cpu()")
    _check_autograd(grad, {})
    return array


def _check_autograd(grad: Any, hooks: Any) -> None:
    if type(grad) is not bool or not isinstance(hooks, dict | None) or hooks:
        raise ParityError("a tensor must say whether it wants gradients, and have no backward hooks")


def _refused(what: str, cure: str, module: str, *names: str) -> Calls:
    return dict.fromkeys((Name(module, name) for name in names), Refused(f"{what}, which is not read here; {cure}"))


_TENSORS: dict[Name, Callable[..., _Tensor]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_tensor_v3"): _rebuild_of_dtype,
    Name("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}
_CALLS: Calls = {
    **NUMPY,
    **dict.fromkeys((*_KINDS, *_DTYPES)),
    **_TENSORS,
    **objects("torch", "device"),
    **objects("torch.serialization", "_get_layout"),
    Name("torch", "Size"): NUMPY[Name("builtins", "tuple")],
    Name("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    Name("torch._utils", "_rebuild_device_tensor_from_numpy"): _rebuild_from_numpy,
    **_refused("a sparse tensor", "save tensor.to_dense()", "torch._utils", "_rebuild_sparse_tensor"),
    **_refused("a nested tensor", "save its tensors one by one", "torch._utils", "_rebuild_nested_tensor"),
    **_refused("a quantized tensor", "save tensor.dequantize()", "torch._utils", "_rebuild_qtensor"),
    **_refused(
        "a tensor without values (of the device meta)",
        "save the model after its weights are loaded",
        "torch._utils",
        "_rebuild_meta_tensor_no_storage",
    ),
    **_refused(
        "a subclass of torch.Tensor",
        "save tensor.as_subclass(torch.Tensor)",
        "torch._utils",
        "_rebuild_wrapper_subclass",
    ),
    **_refused(
        "complex numbers",
        "save torch.view_as_real(tensor)",
        "torch",
        *("ComplexHalfStorage", "ComplexFloatStorage", "ComplexDoubleStorage"),
    ),
    **_refused(
        "quantized numbers",
        "save tensor.dequantize()",
        "torch",
        *("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage"),
    ),
}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _Tensor | Array)


def _filled(storages: Mapping[str, memoryview], budget: Budget, value: Any) -> Any:
    """The array that a value of the tree stands for, if it stands for one."""
    if isinstance(value, Array):
        return value.array
    if not isinstance(value, _Tensor):
        return value
    dtype = value.storage.dtype
    data = storages.get(value.storage.key)
    if data is None or len(data) != value.storage.size * dtype.itemsize:
        raise ParityError(f"storage {value.storage.key[:40]!a} must have {value.storage.size} values of {dtype}")
    if 0 in value.shape:
        return np.zeros(value.shape, dtype)
    strides = [stride * dtype.itemsize for stride in value.strides]
    view = np.ndarray(value.shape, dtype, data, value.offset * dtype.itemsize, strides)
    view.flags.writeable = False
    if not value.negative:
        return view
    if dtype == np.bool_:
        raise ParityError("a tensor of truth values cannot have its negative bit set")
    budget.expand(view.nbytes)
    negated = np.negative(view)
    negated.flags.writeable = False
    return negated


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
