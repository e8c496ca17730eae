"""Files that once took gigabytes, or would where a reader counts badly: small to write, large to read."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
from crafted import DATA, array, checkpoint, entry, npy, number, safetensors, shape_of, tensor, text, tup, zarray

MIB = 1 << 20
# What begins OCDBT's manifests and nodes.
MANIFEST, NODE = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"


def deflated(members: dict[str, bytes]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return file.getvalue()


def stored(members: dict[str, bytes]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return file.getvalue()


def pt(pickle: bytes, storage: bytes = bytes(16), compressed: bool = True) -> bytes:
    return (deflated if compressed else stored)({"x/data.pkl": pickle, "x/data/0": storage, "x/version": b"3"})


def entries(items: Iterator[bytes]) -> bytes:
    """A dictionary of these values by number."""
    return b"\x80\x04}(" + b"".join(text(f"w{i}") + item for i, item in enumerate(items)) + b"u."


def encodes(count: int) -> bytes:
    """One text of a mebibyte in the memo, made to bytes `count` times."""
    head = text("a" * MIB) + b"q\1c_codecs\nencode\nq\2" + text("latin1") + b"q\3"
    return b"\x80\x04](" + head + b"h\2h\1h\3\x86R" * count + b"e."


def named(name: str, value: bytes) -> bytes:
    return b"\x80\x04}(" + text(name) + value + b"u."


def many(count: int, value: bytes) -> bytes:
    """A map of the value in `count` places."""
    return b"\xdf" + struct.pack(">I", count) + b"".join(b"\xa6%06d" % i + value for i in range(count))


def lists(depth: int, width: int = 15) -> bytes:
    """Lists of `width` lists, that share nothing because MessagePack has no memo."""
    found = b"\x90"
    for _ in range(depth):
        found = bytes([0x90 + width]) + found * width
    return found


def shared(value: bytes, count: int) -> bytes:
    """The value made once and named in `count` places."""
    return entries(iter([value + b"r\x63\0\0\0", *[b"j\x63\0\0\0"] * (count - 1)]))


def index_of(count: int) -> bytes:
    """An archive with nothing but an index of `count` members of no bytes."""
    parts, index = bytearray(), bytearray()
    for i in range(count):
        name = b"%d.npy" % i
        index += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, len(parts)
        )
        index += name
        parts += struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(index), len(parts), 0)
    return bytes(parts + index + tail)


def chunks(count: int, **more: object) -> Callable[[Path], Path]:
    """An Orbax array of chunks of one value each, of which none is there."""

    def write(folder: Path) -> Path:
        described = {**json.loads(zarray(count)), "chunks": [1], **more}
        return checkpoint(folder, **{"conv.bias": json.dumps(described).encode()})

    return write


def decompressing_chunk(folder: Path) -> Path:
    """An Orbax array of one value, whose chunk becomes 64 MiB."""
    described = {**json.loads(zarray(1)), "compressor": {"id": "zlib", "level": 9}}
    chunk = zlib.compress(bytes(64 * MIB), 9)
    return checkpoint(folder, **{"conv.bias": json.dumps(described).encode(), "conv.bias/0": chunk})


def decompressing_node(folder: Path) -> Path:
    """An Orbax checkpoint of a few kilobytes whose only node becomes 100 MiB of keys and values."""
    import tensorstore

    config = {"compression": {"id": "zstd"}, "max_inline_value_bytes": MIB, "max_decoded_node_bytes": 1 << 29}
    spec = {"driver": "ocdbt", "base": f"file://{folder / 'x.orbax'}/", "config": config}
    store = tensorstore.KvStore.open(spec).result()
    with tensorstore.Transaction() as transaction:
        for i in range(100):
            store.with_transaction(transaction)[f"{i:03}"] = bytes(MIB)
    return folder / "x.orbax"


def decompressing_manifest(folder: Path) -> Path:
    """An Orbax checkpoint whose manifest becomes a table of a million files with names of 127 characters."""
    files = 1_000_000
    config = bytes(16) + b"\0\x64\x80\x80\x80\4\4\1" + bytes(4)
    body = [(config + b"\xc0\x84\x3d", 1), (b"\0", files - 1), (b"\x7f", files), (b"\0", files), (b"a", 127 * files)]
    path = checkpoint(folder)
    path.mkdir(exist_ok=True)
    (path / "manifest.ocdbt").write_bytes(signed(MANIFEST, b"\0\1" + zstd(body)))
    return path


def zstd(parts: list[tuple[bytes, int]]) -> bytes:
    """A frame of Zstandard: each part as it is, or one byte that many times."""
    blocks = []
    for data, count in parts:
        while count > 0:
            times = min(count, 1 << 17)
            blocks.append((2 | times << 3, data) if len(data) == 1 else (len(data) << 3, data))
            count -= times
    last = len(blocks) - 1
    # A window of 128 KiB, and no size of the content.
    frame = b"\x28\xb5\x2f\xfd\0\x38"
    return frame + b"".join((head + (i == last)).to_bytes(3, "little") + data for i, (head, data) in enumerate(blocks))


def signed(magic: bytes, body: bytes) -> bytes:
    """An OCDBT manifest or node: its magic number, its length, its body and the checksum of all that."""
    data = magic + struct.pack("<Q", len(body) + 16) + body
    return data + struct.pack("<I", crc32c(data))


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc32c_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_CRC32C = [_crc32c_of_byte(byte) for byte in range(256)]


def extension(*parts: object) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb(list(parts)))


HURTFUL: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pt: one text made to bytes 12,000 times": (".pt", lambda: pt(encodes(12_000))),
    "pdparams: one text made to bytes 12,000 times": (".pdparams", lambda: encodes(12_000)),
    "pt: a batch counter of 67 million": (
        ".pt",
        lambda: pt(named("a.num_batches_tracked", tensor(4, 0, [1 << 26], [0], "torch\nLongStorage")), bytes(32)),
    ),
    "pt: a batch counter of three million": (
        ".pt",
        lambda: pt(named("a.num_batches_tracked", tensor(4, 0, [3_000_000], [0], "torch\nLongStorage")), bytes(32)),
    ),
    "npz: a batch counter of two million": (
        ".npz",
        lambda: deflated({"a.num_batches_tracked.npy": npy(shape_of("(2000000,)", "<i8"), bytes(16_000_000))}),
    ),
    "msgpack: nested lists": (".msgpack", lambda: b"\x81\xa1a" + lists(5)),
    "msgpack: nested maps": (".msgpack", lambda: many(90_000, b"\x81\xa1a\xc0")),
    "msgpack: empty maps": (".msgpack", lambda: many(400_000, b"\x80")),
    "msgpack: maps that claim a hundred thousand": (".msgpack", lambda: b"\xdf\0\1\x86\xa0\xa1a" * 60 + bytes(MIB)),
    "msgpack: two million integers": (
        ".msgpack",
        lambda: b"\x81\xa1a\xdd" + struct.pack(">I", 700_000) + b"\xcd\xff\xff" * 2_000_000,
    ),
    "msgpack: tiny arrays": (
        ".msgpack",
        lambda: msgpack.packb({f"{i}": extension([], "int8", b"a") for i in range(100_000)}),
    ),
    "msgpack: metadata of a million lists": (
        ".msgpack",
        lambda: msgpack.packb({"__metadata__": {"[" + "[]," * 1_000_000 + "0]": {}}}),
    ),
    "pickle: integers of 255 bytes": (
        ".pdparams",
        lambda: b"\x80\x04](" + (b"\x8a\xff" + b"\1" * 255) * 20_000 + b"e.",
    ),
    "pickle: small integers": (".pdparams", lambda: b"\x80\x04](" + b"J\1\1\1\1" * 700_000 + b"e."),
    "pickle: empty lists": (".pdparams", lambda: b"\x80\x04](" + b"]" * 1_000_000 + b"e."),
    "pickle: empty dictionaries": (".pdparams", lambda: b"\x80\x04](" + b"}" * 700_000 + b"e."),
    "pickle: memo after memo": (".pdparams", lambda: b"\x80\x04]" + b"\x94" * 1_000_000 + b"."),
    "pickle: a tuple of three million": (".pdparams", lambda: b"\x80\x04(" + b"N" * 1_000_000 + b"t."),
    "pickle: a tuple in a tuple in a tuple": (".pdparams", lambda: b"\x80\x04N" + b"\x85" * 1_000_000 + b"."),
    "pickle: marks": (".pdparams", lambda: b"\x80\x04" + b"(" * 1_000_000 + b"."),
    "pickle: deflated opcodes": (".pt", lambda: pt(b"\x80\x04](" + b"K\1" * 6_000_000 + b"e.")),
    "pickle: deflated texts": (".pt", lambda: pt(b"\x80\x04](" + b"\x8c\3abc" * 5_000_000 + b"e.")),
    "pickle: a deflated text": (".pt", lambda: pt(b"\x80\x04" + text("a" * 30_000_000 + "\U0001f600") + b".")),
    "pickle: OrderedDicts": (
        ".pdparams",
        lambda: b"\x80\x04ccollections\nOrderedDict\nq\0](" + b"h\0)R" * 700_000 + b"e.",
    ),
    "pickle: objects of a class of somebody's": (
        ".pdparams",
        lambda: b"\x80\x04cargparse\nNamespace\nq\0](" + b"h\0)\x81" * 500_000 + b"e.",
    ),
    "pickle: branches within branches": (
        ".pdparams",
        lambda: b"\x80\x04" + b"".join(b"}(" + text("model") for _ in range(100_000)) + b"}" + b"u" * 100_000 + b".",
    ),
    "pickle: keys of a hundred thousand kinds": (
        ".pdparams",
        lambda: b"\x80\x04}(" + b")N" * 300_000 + b"u.",
    ),
    "index: a hundred thousand tensors": (
        ".json",
        lambda: json.dumps({"weight_map": {f"layers.{i}.weight": "x.bin" for i in range(100_000)}}).encode(),
    ),
    "index: ten thousand files": (
        ".json",
        lambda: json.dumps({"weight_map": {f"layers.{i}.weight": f"{i}.bin" for i in range(10_000)}}).encode(),
    ),
    "pickle: globals": (".pdparams", lambda: b"\x80\x04](" + b"cnumpy\ndtype\n" * 300_000 + b"e."),
    "pickle: globals, each another": (
        ".pdparams",
        lambda: b"\x80\x04](" + b"".join(b"cnumpy\na%05x\n" % i for i in range(300_000)) + b"e.",
    ),
    "pickle: dtypes": (
        ".pdparams",
        lambda: (
            b"\x80\x04cnumpy\ndtype\nq\0" + tup(text("f4"), b"\x89", b"\x88") + b"q\1](" + b"h\0h\1R" * 700_000 + b"e."
        ),
    ),
    "pickle: one array in ninety thousand places": (
        ".pdparams",
        lambda: shared(array(tup(number(MIB // 4)), data=b"\x8e" + struct.pack("<Q", MIB) + bytes(MIB)), 90_000),
    ),
    "pickle: one dictionary in ninety thousand places": (
        ".pdparams",
        lambda: shared(b"}(" + b"".join(text(f"{i}") + b"N" for i in range(1000)) + b"u", 90_000),
    ),
    "pickle: a long name in ninety thousand places": (
        ".pdparams",
        lambda: (
            b"\x80\x04}(" + text("w") + b"}(" + b"".join(text(f"{i}" + "a" * 500) + b"N" for i in range(9000)) + b"uu."
        ),
    ),
    "pt: one storage as a thousand tensors": (
        ".pt",
        lambda: pt(entries(tensor(MIB // 4, 0, [MIB // 4], [1]) for _ in range(1000)), bytes(MIB), compressed=False),
    ),
    "pt: one storage as sixty thousand tensors": (
        ".pt",
        lambda: pt(entries(tensor(4, 0, [4], [1]) for _ in range(60_000)), compressed=False),
    ),
    "pt: sixty thousand tensors, deflated": (".pt", lambda: pt(entries(tensor(4, 0, [4], [1]) for _ in range(60_000)))),
    "pt: one value as a tensor of four gigabytes": (".pt", lambda: pt(named("a.bias", tensor(4, 0, [1 << 30], [0])))),
    "pt: one value as a tensor of thirty megabytes": (
        ".pt",
        lambda: pt(named("a.weight", tensor(4, 0, [7_500_000, 1, 1, 1], [0, 0, 0, 0]))),
    ),
    "pt: one value as a matrix of thirty megabytes": (
        ".pt",
        lambda: pt(named("a.weight", tensor(4, 0, [2, 3_700_000], [0, 0]))),
    ),
    "pt: a deflated storage": (
        ".pt",
        lambda: pt(named("a.bias", tensor(15 * MIB, 0, [15 * MIB], [1])), bytes(60 * MIB)),
    ),
    "pt: storages that are deflated and not used": (
        ".pt",
        lambda: deflated(
            {
                "x/data.pkl": named("a.bias", tensor(4, 0, [4], [1])),
                "x/data/0": bytes(16),
                **{f"x/data/{i}": bytes(10 * MIB) for i in range(1, 10)},
            }
        ),
    ),
    "npz: a hundred members of nothing": (
        ".npz",
        lambda: deflated({f"{i}.weight.npy": npy(shape_of("(1000000,)"), bytes(4_000_000)) for i in range(100)}),
    ),
    "npz: a member of thirty megabytes": (
        ".npz",
        lambda: deflated({"a.bias.npy": npy(shape_of("(7500000,)"), bytes(30_000_000))}),
    ),
    "npz: a member of thirty megabytes, big-endian": (
        ".npz",
        lambda: deflated({"a.bias.npy": npy(shape_of("(7500000,)", ">f4"), bytes(30_000_000))}),
    ),
    "npz: an index of sixty thousand": (".npz", lambda: index_of(60_000)),
    "npz: headers of ten thousand characters": (
        ".npz",
        lambda: deflated({f"{i}.bias.npy": npy("{" + " " * 9_990 + "\n") for i in range(3000)}),
    ),
    "safetensors: numbers": (".safetensors", lambda: safetensors(b'{"a.bias":[' + b"1e1," * 600_000 + b"0]}")),
    "safetensors: lists": (".safetensors", lambda: safetensors(b'{"a.bias":[' + b"[]," * 800_000 + b"0]}")),
    "safetensors: objects": (".safetensors", lambda: safetensors(b'{"a.bias":[' + b"{}," * 90_000 + b"0]}")),
    "safetensors: texts": (
        ".safetensors",
        lambda: safetensors(b'{"a.bias":[' + '"\u0101",'.encode() * 700_000 + b"0]}"),
    ),
    "safetensors: a million keys": (
        ".safetensors",
        lambda: safetensors(b"{" + b",".join(b'"%d":0' % i for i in range(1_000_000)) + b"}"),
    ),
    "safetensors: text of one wide character": (
        ".safetensors",
        lambda: safetensors({"__metadata__": {"a": "b" * 9_000_000 + "\U0001f600"}, "a.bias": entry()}, DATA),
    ),
    "safetensors: a hundred thousand tensors": (".safetensors", lambda: scalars(100_000, "layers.{}.running_mean")),
    "safetensors: paths of two hundred parts": (
        ".safetensors",
        lambda: safetensors(
            {f"{'a.' * 200}{i}.weight": entry((1,), (4 * i, 4 * i + 4)) for i in range(900)}, bytes(3600)
        ),
    ),
    "safetensors: a hundred thousand counters": (
        ".safetensors",
        lambda: scalars(100_000, "{}.num_batches_tracked", "I64", 8),
    ),
}


def scalars(count: int, name: str, dtype: str = "F32", size: int = 4) -> bytes:
    header = {name.format(i): entry((), (size * i, size * (i + 1)), dtype) for i in range(count)}
    return safetensors(json.dumps(header, separators=(",", ":")).encode(), bytes(size * count))


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "orbax: a million chunks that are not there": chunks(1_000_000),
    "orbax: metadata of a megabyte": chunks(1, pad=[[]] * 300_000),
    "orbax: a chunk that decompresses": decompressing_chunk,
    "orbax: a node that decompresses": decompressing_node,
    "orbax: a manifest that decompresses": decompressing_manifest,
}


def write_hurtful(name: str, folder: Path) -> Path:
    if name in FOLDERS:
        return FOLDERS[name](folder)
    suffix, data = HURTFUL[name]
    path = folder / f"x{suffix}"
    path.write_bytes(data())
    return path


ALL = (*HURTFUL, *FOLDERS)
DECOMPRESSED = ("orbax: a node that decompresses", "orbax: a manifest that decompresses")
