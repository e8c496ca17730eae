"""Tensors of every kind that `torch.save` writes are read as `torch.load` reads them, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crafted import storage, tup, write_pt

import parity
from parity.weights.files import read

Z = torch.complex(torch.arange(6.0), -torch.arange(6.0)).reshape(2, 3)
BASE = torch.arange(24.0).reshape(2, 3, 4)


def with_attribute() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(BASE.clone())
    parameter.note = "a"
    return parameter


READ: dict[str, Callable[[], torch.Tensor]] = {
    "plain": lambda: BASE,
    "negative bit": lambda: torch._neg_view(BASE),
    "negative bit of integers": lambda: torch._neg_view(torch.arange(4)),
    "negative bit of bfloat16": lambda: torch._neg_view(BASE.bfloat16()),
    "imaginary part": lambda: Z.imag,
    "imaginary part of a conjugate": lambda: Z.conj().imag,
    "real part of a conjugate": lambda: Z.conj().real,
    "expanded": lambda: torch.arange(3.0).expand(4, 3),
    "expanded to nothing": lambda: torch.arange(3.0)[:, None].expand(3, 0),
    "transposed": lambda: BASE.transpose(0, 2),
    "channels last": lambda: torch.arange(48.0).reshape(1, 3, 4, 4).to(memory_format=torch.channels_last),
    "a slice with an offset": lambda: BASE[1, 1:, ::2],
    "zero-dimensional": lambda: torch.tensor(2.5),
    "zero-dimensional with an offset": lambda: BASE[1, 2, 3],
    "empty": lambda: torch.empty(0, 3),
    "a parameter": lambda: torch.nn.Parameter(BASE.clone()),
    "a parameter with an attribute": with_attribute,
    "a buffer that wants gradients": lambda: BASE.clone().requires_grad_(),
    "truth values": lambda: BASE > 3,
    "float8": lambda: BASE.to(torch.float8_e4m3fn),
    "float8 of two bits": lambda: BASE.to(torch.float8_e5m2),
    "uint16": lambda: torch.arange(5).to(torch.uint16),
    "uint16 with an offset": lambda: torch.arange(5).to(torch.uint16)[2:],
}
REFUSED: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "complex": (lambda: Z, "complex numbers"),
    "conjugate": (lambda: Z.conj(), "complex numbers"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "a sparse tensor"),
    "compressed sparse": (lambda: torch.eye(2).to_sparse_csr(), "a sparse tensor"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a quantized tensor"),
    "meta": (lambda: torch.zeros(2, device="meta"), "a tensor without values"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", READ)
def test_read_as_torch_reads(name: str, zipped: bool, tmp_path: Path) -> None:
    if not zipped and name.startswith(("float8", "uint16")):
        return  # torch writes these in the old format and cannot read them there itself
    tensor = READ[name]()
    torch.save({"a": tensor, "b": torch.ones(1)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    expected = torch.load(tmp_path / "x.pt", weights_only=True)["a"].detach().resolve_neg()
    found = read(tmp_path / "x.pt").arrays["a"]
    assert found.shape == tuple(expected.shape)
    assert found.dtype.name == str(expected.dtype).removeprefix("torch.")
    assert found.tobytes() == bytes(expected.contiguous().reshape(-1).view(torch.uint8).tolist())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, zipped: bool, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    torch.save({"a": make(), "b": torch.ones(1)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(parity.ParityError, match=f"{message}.*save"):
        read(tmp_path / "x.pt")


def rebuilt(*last: bytes, function: str = "_rebuild_tensor_v2") -> bytes:
    first = storage(4), b"K\0", tup(b"K\4"), tup(b"K\1")
    return f"ctorch._utils\n{function}\n".encode() + tup(*first, *last) + b"R"


def key(name: str, value: bytes) -> bytes:
    return b"X" + len(name).to_bytes(4, "little") + name.encode() + value


GOOD = rebuilt(b"\x89", b"}")
ARGUMENTS: dict[str, tuple[bytes, str | None]] = {
    "as it is": (GOOD, None),
    "no hooks": (rebuilt(b"\x89", b"N"), None),
    "no bits": (rebuilt(b"\x89", b"}", b"}"), None),
    "a backward hook": (rebuilt(b"\x89", b"}" + key("a", b"N") + b"s"), "no backward hooks"),
    "gradients that are a number": (rebuilt(b"K\1", b"}"), "must say whether it wants gradients"),
    "a conjugate bit": (rebuilt(b"\x89", b"}", b"}" + key("conj", b"\x88") + b"s"), "conjugate bit"),
    "an unknown bit": (rebuilt(b"\x89", b"}", b"}" + key("zero", b"\x88") + b"s"), "its negative and its conjugate bit"),
    "a bit that is a number": (rebuilt(b"\x89", b"}", b"}" + key("neg", b"K\1") + b"s"), "its negative and"),
    "bits that are a list": (rebuilt(b"\x89", b"}", b"]"), "its negative and its conjugate bit"),
    "an argument too many": (rebuilt(b"\x89", b"}", b"}", b"N"), "other arguments"),
    "an argument too few": (rebuilt(b"\x89"), "other arguments"),
    "a parameter's hook": (
        b"ctorch._utils\n_rebuild_parameter\n" + tup(GOOD, b"\x88", b"}" + key("a", b"N") + b"s") + b"R",
        "no backward hooks",
    ),
    "a parameter's state": (
        b"ctorch._utils\n_rebuild_parameter_with_state\n" + tup(GOOD, b"\x88", b"}", b"K\1") + b"R",
        "its attributes be a dictionary",
    ),
    "bytes of no dtype": (rebuilt(b"\x89", b"}", b"N", function="_rebuild_tensor_v3"), "a storage and a dtype"),
    "bytes that make no whole number": (
        rebuilt(b"\x89", b"}", b"ctorch\nuint16\n", function="_rebuild_tensor_v3"),
        "cannot hold uint16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_counts(name: str, tmp_path: Path) -> None:
    value, message = ARGUMENTS[name]
    path = write_pt(b"\x80\x02}" + key("a.bias", value) + b"s.")(tmp_path)
    if message is None:
        assert np.array_equal(read(path).arrays["a.bias"], np.zeros(4, np.float32))
        return
    with pytest.raises(parity.ParityError, match=message):
        read(path)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_device_tensor_of_numpy(dtype: str, tmp_path: Path) -> None:
    class Saved:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_device_tensor_from_numpy, (
                np.arange(3, dtype=dtype), getattr(torch, dtype), "cpu", False
            )  # fmt: skip

    torch.save({"a": Saved()}, tmp_path / "x.pt")
    assert np.array_equal(read(tmp_path / "x.pt").arrays["a"], np.arange(3))
