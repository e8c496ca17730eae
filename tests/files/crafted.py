"""Files made to hurt: each function writes one below a folder and gives its path.

Whoever runs what a file says leaves a mark: every call in here makes the file `RAN` in the working directory.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

COMMAND = "touch RAN"
EXPRESSION = f"__import__('os').system({COMMAND!r})"
GIB = 1 << 30


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tup(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def called(name: str, *args: bytes) -> bytes:
    return f"c{name}\n".encode() + tup(*args) + b"R"


RECONSTRUCT = "numpy.core.multiarray\n_reconstruct"
EMPTY_ARRAY = called(RECONSTRUCT, b"cnumpy\nndarray\n", tup(b"K\0"), b"C\1b")
F4 = called("numpy\ndtype", text("f4"), b"\x89", b"\x88")


def array(shape: bytes, dtype: bytes = F4, data: bytes = b"C\x04\0\0\0\0") -> bytes:
    return EMPTY_ARRAY + tup(b"K\1", shape, dtype, b"\x89", data) + b"b"


def state(value: bytes) -> bytes:
    """A dictionary with one entry."""
    return b"\x80\x04}(" + text("conv.weight") + value + b"u."


BOMB = b"(lp0\n" + b"".join(b"(g%d\ng%d\nlp%d\n" % (i, i, i + 1) for i in range(60)) + b"."
DICTS = b"}q\0" + b"".join(b"}(%bh%c%bh%cuq%c" % (text("a"), i, text("b"), i, i + 1) for i in range(60)) + b"."
TUPLES = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
COLLISIONS = b"".join(b"\x8a\x0e" + (i * ((1 << 61) - 1)).to_bytes(14, "little") + b"N" for i in range(1, 100_000))

PICKLES: dict[str, bytes] = {
    **{f"os.system in protocol {p}": pickle.dumps({"a": Calls(os.system, COMMAND)}, p) for p in range(6)},
    **{f"eval in protocol {p}": pickle.dumps({"a": Calls(eval, EXPRESSION)}, p) for p in range(6)},
    "a pickle in a pickle": pickle.dumps({"a": pickle.dumps(Calls(os.system, COMMAND))}, 4),
    "pickle.loads of a pickle": pickle.dumps({"a": Calls(pickle.loads, pickle.dumps(Calls(os.system, COMMAND)))}, 4),
    "getattr": pickle.dumps({"a": Calls(getattr, 1, "real")}, 4),
    "INST": b"(" + text(COMMAND) + b"ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + text(COMMAND) + b"o.",
    "NEWOBJ": b"ccollections\nOrderedDict\n)\x81.",
    "NEWOBJ_EX": b"ccollections\nOrderedDict\n)}\x92.",
    "EXT1": b"\x80\x04\x82\x01.",
    "a dotted global": b"\x80\x04" + text("numpy") + text("core.multiarray.os.system") + b"\x93.",
    "an OrderedDict of pairs": state(called("collections\nOrderedDict", b"](" + tup(text("a"), b"N") + b"e")),
    "ndarray called": state(called("numpy\nndarray", tup(number(GIB), number(GIB)))),
    "dtype of objects": state(array(tup(b"K\1"), called("numpy\ndtype", text("O8"), b"\x89", b"\x88"))),
    "dtype of a billion bytes": state(array(tup(b"K\1"), called("numpy\ndtype", text("V999999999"), b"\x89", b"\x88"))),
    "a subclass reconstructed": state(called(RECONSTRUCT, b"cnumpy\ndtype\n", tup(b"K\0"), b"C\1b")),
    "encode by another codec": state(called("_codecs\nencode", text("a"), text("zlib"))),
    "a call with too many arguments": state(called("numpy\ndtype", *[b"N"] * 9)),
    "BUILD of a tuple": b"\x80\x04)}" + text("__setstate__") + text("x") + b"sb.",
    "BUILD of a name": b"\x80\x04cnumpy\nndarray\n}" + text("__setstate__") + b"cnumpy\ndtype\nsb.",
    "BUILD of a dictionary": b"\x80\x04}}" + text("__class__") + text("x") + b"sb.",
    "BUILD of an OrderedDict": b"\x80\x04ccollections\nOrderedDict\n)R}" + text("__setstate__") + b"N" + b"sb.",
    "a key twice": state(array(tup(b"K\1")) + text("conv.weight") + array(tup(b"K\1"))),
    "an array without its state": state(EMPTY_ARRAY),
    "an array of a huge shape": state(array(tup(number(1 << 40)))),
    "an array of an overflowing shape": state(array(tup(*[number(1 << 40)] * 5))),
    "an array of a negative shape": state(array(tup(number(-1)))),
    "an array of too few bytes": state(array(tup(b"K\2"))),
    "a thousand million axes": state(array(b"(" + b"K\1" * 100_000 + b"t")),
    "shared lists": BOMB,
    "shared dictionaries": DICTS,
    "shared tuples as a key": b"}" + TUPLES + b"Ns.",
    "shared tuples as a shape": state(array(TUPLES)),
    "shared tuples as a dtype": state(called("numpy\ndtype", TUPLES, b"\x89", b"\x88")),
    "shared tuples as a codec": state(called("_codecs\nencode", TUPLES, TUPLES)),
    "keys of one hash": b"\x80\x02}(" + COLLISIONS + b"u.",
    "a dictionary in itself": b"}q\0(" + text("a") + b"h\0" + text("b") + b"h\0u.",
    "a memo of four thousand million": b"}r\xff\xff\xff\xff.",
    "a memo that was never put": b"h\5.",
    "an index of a thousand digits": b"}p" + b"9" * 1000 + b"\n.",
    "an integer of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "three million steps": b"N" * 3_000_000 + b".",
    "a million lists in lists": b"]" * 400_000 + b"a" * 399_999 + b".",
    "a text of four gigabytes": b"X\xff\xff\xff\xff",
    "bytes of an exabyte": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60),
    "an empty stack": b"\x80\x04u.",
    "no end": b"\x80\x04}",
    "protocol 99": b"\x80\x63}.",
    "a persistent id": b"\x80\x02" + text("file") + b"Q.",
    "not a dictionary": pickle.dumps([1, 2], 4),
    "a name that commands a terminal": pickle.dumps({"\x1b]0;owned\x07": 1, "a": np.zeros(1)}, 4),
    "a name of a megabyte": pickle.dumps({"a" * 1_000_000: np.zeros(1)}, 4),
}  # fmt: skip


def storage(size: int, kind: str = "torch\nFloatStorage") -> bytes:
    return tup(text("storage"), f"c{kind}\n".encode(), text("0"), text("cpu"), number(size)) + b"Q"


def tensor(size: int, offset: int, shape: list[int], strides: list[int], kind: str = "torch\nFloatStorage") -> bytes:
    sides = tup(*map(number, shape)), tup(*map(number, strides))
    return called("torch._utils\n_rebuild_tensor_v2", storage(size, kind), number(offset), *sides, b"\x89", b"}")


TENSORS: dict[str, bytes] = {
    "a tensor past its storage": state(tensor(4, 2, [3], [1])),
    "a tensor of negative strides": state(tensor(4, 3, [4], [-1])),
    "a tensor before its storage": state(tensor(4, -1, [4], [1])),
    "a storage larger than its bytes": state(tensor(1 << 40, 0, [1 << 40], [1])),
    "a small storage seen as a huge tensor": state(tensor(4, 0, [1 << 40], [0])),
    "a tensor of an overflowing shape": state(tensor(4, 0, [1 << 62, 1 << 62, 0], [0, 0, 0])),
    "a storage of unknown numbers": state(tensor(4, 0, [4], [1], "torch\nQUInt8Storage")),
    "a storage of a function": state(tensor(4, 0, [4], [1], "os\nsystem")),
    "torch.load called": state(called("torch\nload", text("x"))),
    "a tensor of another's memory": state(called("torch._utils\n_rebuild_tensor_v2", number(0), number(0), b")", b")")),
}


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


def npz(**members: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(f"{name}.npy", data)
        return file.getvalue()


def objects() -> bytes:
    with io.BytesIO() as file:
        np.savez(file, **{"a.bias": np.array([Calls(os.system, COMMAND)], dtype=object)})
        return file.getvalue()


def shape_of(value: str, descr: str = "<f4") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {value}}}\n"


def zeros(size: int, name: str = "a.bias.npy", claimed: int | None = None) -> bytes:
    """An archive of one deflated member of zeros."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
            member.write(npy(shape_of(f"({size // 4},)")))
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
        data = bytearray(file.getvalue())
    if claimed is not None:
        data[(entry := data.rfind(b"PK\1\2")) + 24 : entry + 28] = struct.pack("<I", claimed)
    return bytes(data)


def overlapping() -> bytes:
    """An archive whose index names one member a thousand times."""
    data = npz(**{"aaa.bias": npy(shape_of("(1,)"), bytes(4))})
    start = data.rfind(b"PK\1\2")
    end = data.rfind(b"PK\5\6")
    entry = data[start:end]
    entries = b"".join(entry.replace(b"aaa.bias", b"%03d.bias" % i) for i in range(1000))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(entries), start, 0)
    return data[:start] + entries + tail


def patched(data: bytes, magic: bytes, offset: int, value: bytes) -> bytes:
    at = data.rfind(magic) + offset
    return data[:at] + value + data[at + len(value) :]


GOOD_NPZ = npz(**{"a.bias": npy(shape_of("(1,)"), bytes(4))})
ARCHIVES: dict[str, bytes] = {
    "objects": objects(),
    "a zip bomb": zeros(200 << 20),
    "a zip bomb that claims to be small": zeros(200 << 20, claimed=200),
    "a member in a thousand places": overlapping(),
    "no index": GOOD_NPZ[: GOOD_NPZ.rfind(b"PK\1\2")],
    "an index of four gigabytes": patched(GOOD_NPZ, b"PK\5\6", 12, b"\xff\xff\xff\xff"),
    "an index outside": patched(GOOD_NPZ, b"PK\5\6", 16, b"\xff\xff\xff\x7f"),
    "more members than there are": patched(GOOD_NPZ, b"PK\5\6", 10, b"\xff\xff"),
    "a member outside": patched(GOOD_NPZ, b"PK\1\2", 42, b"\xff\xff\xff\x7f"),
    "a member larger than the file": patched(GOOD_NPZ, b"PK\1\2", 20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"),
    "an encrypted member": patched(GOOD_NPZ, b"PK\1\2", 8, b"\1\0"),
    "an unknown compression": patched(GOOD_NPZ, b"PK\1\2", 10, b"\x63\0"),
    "a wrong checksum": patched(GOOD_NPZ, b"PK\1\2", 16, b"\0\0\0\0"),
    "a huge shape": npz(**{"a.bias": npy(shape_of("(1099511627776,)"), bytes(4))}),
    "an overflowing shape": npz(**{"a.bias": npy(shape_of("(4294967296, 4294967296)"), bytes(4))}),
    "a negative shape": npz(**{"a.bias": npy(shape_of("(-1,)"), bytes(4))}),
    "a shape of text": npz(**{"a.bias": npy(shape_of("'aa'"), bytes(4))}),
    "a header of brackets": npz(**{"a.bias": npy("(" * 60_000)}),
    "a header that computes": npz(**{"a.bias": npy(shape_of("(9**9**9,)"))}),
    "a header that calls": npz(**{"a.bias": npy(f"__import__('os').system({COMMAND!r})")}),
    "records": npz(**{"a.bias": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}\n", bytes(4))}),
    "text": npz(**{"a.bias": npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}\n", bytes(4))}),
    "an unknown version": npz(**{"a.bias": npy(shape_of("(1,)"), bytes(4), b"\x09\0")}),
    "no numpy file": npz(**{"a.bias": b"hello"}),
    "no magic": npz(**{"a.bias": b""}),
}


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


DATA = bytes(4)
HEADERS: dict[str, bytes] = {
    "a header over the file": safetensors({"a.bias": entry()}, DATA, length=1 << 20),
    "a header of an exabyte": safetensors({"a.bias": entry()}, DATA, length=1 << 60),
    "a header of 100 MB": safetensors(b'{"a.bias":' + b" " * 100_000_000 + b"0}"),
    "a header of ten million lists": safetensors(b'{"a.bias":[' + b"[]," * 3_400_000 + b"0]}"),
    "a header of two million names": safetensors(b"{" + b'"a":0,' * 1_700_000 + b'"b":0}'),
    "a header nested a million deep": safetensors(b'{"a.bias":' + b"[" * 1_000_000),
    "a header that is a list": safetensors([1]),
    "a header of other bytes": safetensors(b'{"\xff\xfe": 1}'),
    "overlapping tensors": safetensors({"a.bias": entry(), "b.bias": entry()}, DATA),
    "half overlapping tensors": safetensors({"a.bias": entry((2,), (0, 8)), "b.bias": entry((2,), (4, 12))}, DATA * 3),
    "a gap between tensors": safetensors({"a.bias": entry(), "b.bias": entry((1,), (8, 12))}, DATA * 3),
    "offsets over the file": safetensors({"a.bias": entry((2,), (0, 8))}, DATA),
    "bytes behind the tensors": safetensors({"a.bias": entry()}, DATA * 2),
    "offsets the wrong way": safetensors({"a.bias": entry((1,), (4, 0))}, DATA),
    "a negative offset": safetensors({"a.bias": entry((1,), (-4, 0))}, DATA),
    "offsets of 2**64": safetensors({"a.bias": entry((1,), (1 << 64, (1 << 64) + 4))}, DATA),
    "offsets that are not numbers": safetensors({"a.bias": entry((1,), ("0", True))}, DATA),
    "three offsets": safetensors({"a.bias": entry((1,), (0, 4, 8))}, DATA),
    "a shape that is not the bytes": safetensors({"a.bias": entry((2,), (0, 4))}, DATA),
    "a huge shape": safetensors({"a.bias": entry((1 << 40,), (0, 4))}, DATA),
    "an overflowing shape": safetensors({"a.bias": entry((1 << 32, 1 << 32, 0), (0, 4))}, DATA),
    "a huge empty shape": safetensors({"a.bias": entry((0, 1 << 62, 1 << 62), (0, 0))}),
    "a negative shape": safetensors({"a.bias": entry((-1, -1))}, DATA),
    "a shape of fractions": safetensors({"a.bias": entry((1.0,))}, DATA),
    "a shape of truths": safetensors({"a.bias": entry((True,))}, DATA),
    "a number of 10,000 digits": safetensors(b'{"a.bias":{"dtype":"F32","shape":[' + b"9" * 10_000 + b"]}}", DATA),
    "a thousand axes": safetensors({"a.bias": entry([1] * 1000)}, DATA),
    "an unknown dtype": safetensors({"a.bias": entry(dtype="F31")}, DATA),
    "a dtype that is a list": safetensors({"a.bias": entry(dtype=["F32"])}, DATA),
    "a missing field": safetensors({"a.bias": {"dtype": "F32", "shape": [1]}}, DATA),
    "a field too many": safetensors({"a.bias": {**entry(), "x": 1}}, DATA),
    "a name twice": safetensors(b'{"a.bias":%b,"a.bias":%b}' % ((json.dumps(entry()).encode(),) * 2), DATA),
    "a field twice": safetensors(b'{"a.bias":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', DATA),
    "a name that is not ASCII": safetensors({"\u0430": entry()}, DATA),
    "a name with a line's end": safetensors({"a\nparity: all is well": entry()}, DATA),
    "an empty name": safetensors({"": entry()}, DATA),
    "metadata that is a list": safetensors({"__metadata__": [1], "a.bias": entry()}, DATA),
    "metadata of numbers": safetensors({"__metadata__": {"a.bias": 1}, "a.bias": entry()}, DATA),
    "metadata of half a character": safetensors({"__metadata__": {"a": "\ud800"}, "a.bias": entry()}, DATA),
    "counters that are no JSON": safetensors(
        {"__metadata__": {"num_batches_tracked": "[" * 100_000}, "norm._mean": entry()}, DATA
    ),
    "counters that are text": safetensors(
        {"__metadata__": {"num_batches_tracked": '{"norm.num_batches_tracked": "1"}'}, "norm._mean": entry()}, DATA
    ),
    "no tensors": safetensors({}),
    "no header": b"\0\0\0\0{",
}  # fmt: skip


def ext(*parts: Any, code: int = 1) -> bytes:
    return msgpack.packb({"a": msgpack.ExtType(code, msgpack.packb(list(parts)))})


CHUNKED = {"__msgpack_chunked_array__": True}
MESSAGES: dict[str, bytes] = {
    "maps nested a hundred thousand deep": b"\x81\xa1a" * 100_000 + b"\xc0",
    "maps nested a hundred deep": b"\x81\xa1a" * 100 + b"\xc0",
    "lists nested a hundred thousand deep": b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0",
    "a list of four thousand million": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "maps that claim a hundred thousand": b"\xdf\0\1\x86\xa0\xa1a" * 500,
    "a map of four thousand million": b"\xdf\xff\xff\xff\xff",
    "a text of four gigabytes": b"\x81\xdb\xff\xff\xff\xff",
    "bytes of four gigabytes": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "an extension of four gigabytes": b"\x81\xa1a\xc9\xff\xff\xff\xff\1",
    "an unknown extension": msgpack.packb({"a": msgpack.ExtType(42, b"x")}),
    "a huge shape": ext([1 << 40], "float32", bytes(4)),
    "an overflowing shape": ext([1 << 32, 1 << 32, 1 << 32], "float32", bytes(4)),
    "a negative shape": ext([-1], "float32", bytes(4)),
    "a shape of text": ext("11", "float32", bytes(4)),
    "objects": ext([1], "object", bytes(8)),
    "a dtype that is no name": ext([1], "f4,f4", bytes(8)),
    "too few bytes": ext([2], "float32", bytes(4)),
    "an array of two parts": ext([1], "float32"),
    "an array that is empty": msgpack.packb({"a": msgpack.ExtType(1, b"")}),
    "pieces without a shape": msgpack.packb({"a": {**CHUNKED, "chunks": {}}}),
    "pieces that are missing": msgpack.packb({"a": {**CHUNKED, "shape": {"0": 1 << 40}, "chunks": {}}}),
    "a key twice": b"\x82\xa1a\xc0\xa1a\xc0",
    "a key that is a number": b"\x81\x01\xc0",
    "bytes behind the end": msgpack.packb({"a": 1}) + b"\xc0",
    "not a map": b"\xc0",
    "metadata that is no JSON": msgpack.packb({"__metadata__": {"{": {}}}),
    "metadata with leaves": msgpack.packb({"__metadata__": {"{}": 1}}),
}  # fmt: skip

CONTENTS: dict[str, tuple[str, bytes]] = {
    **{f"pdparams: {name}": (".pdparams", data) for name, data in PICKLES.items()},
    **{f"legacy pt: {name}": (".pt", data) for name, data in PICKLES.items()},
    **{f"npz: {name}": (".npz", data) for name, data in ARCHIVES.items()},
    **{f"safetensors: {name}": (".safetensors", data) for name, data in HEADERS.items()},
    **{f"msgpack: {name}": (".msgpack", data) for name, data in MESSAGES.items()},
    "pt: a zip bomb": (".pt", zeros(200 << 20, "x/data.pkl")),
    "pt: a zip bomb that claims to be small": (".pt", zeros(200 << 20, "x/data.pkl", claimed=200)),
    "pt: no pickle": (".pt", zeros(1 << 10, "x/version")),
    "no format": (".bin", b"hello, world"),
    "an empty file": (".npz", b""),
}


def write_contents(suffix: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"x{suffix}"
        path.write_bytes(data)
        return path

    return write


def write_pt(data: bytes, **more: bytes) -> Callable[[Path], Path]:
    members = {"x/data.pkl": data, "x/data/0": bytes(16), "x/version": b"3", **more}
    return lambda folder: write_zip(folder / "x.pt", members)


def checkpoint(folder: Path, **arrays: bytes) -> Path:
    """An OCDBT store, in which each array has that `.zarray`, and each chunk that value."""
    import tensorstore

    path = folder / "x.orbax"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/"}).result()
    for name, metadata in arrays.items():
        store.write(name if "/" in name and name.rpartition("/")[2].isdigit() else f"{name}/.zarray", metadata).result()
    return path


def zarray(*shape: int) -> bytes:
    layout = {"zarr_format": 2, "dtype": "<f4", "order": "C", "compressor": None, "filters": None, "fill_value": 0}
    return json.dumps({**layout, "shape": shape, "chunks": [max(1, min(side, 64)) for side in shape]}).encode()


def with_link(folder: Path, *, directory: bool) -> Path:
    path = checkpoint(folder, **{"conv.kernel": zarray(1, 1, 1, 1)})
    (path / "d" / "link").symlink_to(Path("/etc") if directory else Path("/etc/passwd"))
    return path


def with_pipe(folder: Path) -> Path:
    path = checkpoint(folder, **{"conv.kernel": zarray(1, 1, 1, 1)})
    os.mkfifo(path / "pipe")
    return path


def manifest_is_link(folder: Path) -> Path:
    real = checkpoint(folder, **{"conv.kernel": zarray(1, 1, 1, 1)}).rename(folder / "real")
    path = folder / "x.orbax"
    path.mkdir()
    for each in real.iterdir():
        (path / each.name).symlink_to(each)
    return path


def garbage(folder: Path) -> Path:
    path = folder / "x.orbax"
    path.mkdir()
    (path / "manifest.ocdbt").write_bytes(b"\x0c\xdb\x3a\x2a" + zlib.compress(bytes(1000)))
    return path


def deep(folder: Path) -> Path:
    path = checkpoint(folder, **{"conv.kernel": zarray(1, 1, 1, 1)})
    path.joinpath(*["d"] * 100).mkdir(parents=True)
    return path


def bad_metadata(folder: Path) -> Path:
    path = checkpoint(folder, **{"conv.kernel": zarray(1, 1, 1, 1)})
    (path / "_CHECKPOINT_METADATA").write_bytes(b'{"custom_metadata":' + b"[" * 1_000_000)
    return path


def empty_directory(folder: Path) -> Path:
    (folder / "x.orbax").mkdir()
    return folder / "x.orbax"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x.npz")
    return folder / "x.npz"


CRAFTED: dict[str, Callable[[Path], Path]] = {
    **{name: write_contents(suffix, data) for name, (suffix, data) in CONTENTS.items()},
    **{f"pt: {name}": write_pt(data) for name, data in {**PICKLES, **TENSORS}.items()},
    "pt: big-endian": write_pt(state(tensor(4, 0, [4], [1])), **{"x/byteorder": b"big"}),
    "pt: two pickles": write_pt(state(tensor(4, 0, [4], [1])), **{"y/data.pkl": b"}."}),
    "orbax: a link to a file": lambda folder: with_link(folder, directory=False),
    "orbax: a link to a directory": lambda folder: with_link(folder, directory=True),
    "orbax: links only": manifest_is_link,
    "orbax: a pipe": with_pipe,
    "orbax: ..": lambda folder: checkpoint(folder, **{"../../etc.kernel": zarray(1)}),
    "orbax: .. in a name": lambda folder: checkpoint(folder, **{"a...kernel": zarray(1)}),
    "orbax: a name that is a path": lambda folder: checkpoint(folder, **{"etc/passwd": zarray(1)}),
    "orbax: a huge shape": lambda folder: checkpoint(folder, **{"conv.kernel": zarray(1 << 20, 1 << 20)}),
    "orbax: no metadata": lambda folder: checkpoint(folder, **{"conv.kernel": b"{"}),
    "orbax: metadata nested a million deep": bad_metadata,
    "orbax: garbage": garbage,
    "orbax: nested a hundred deep": deep,
    "orbax: nothing": empty_directory,
    "a pipe": pipe,
    "a device": lambda folder: Path("/dev/zero"),
    "a directory": lambda folder: folder,
    "nothing at all": lambda folder: folder / "x.npz",
}  # fmt: skip
