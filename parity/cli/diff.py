"""`parity diff`: whether two checkpoints hold the same weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ParityError
from ..weights.files import FRAMEWORKS, Opened, about, open_file
from ..weights.files.contents import releasing, slabs
from .terminal import bytes_bar
from .weights import Layers, layers_told


@dataclass(frozen=True)
class Difference:
    """One tensor that is not the same: what differs, in how many values, and by how much at most."""

    name: str
    what: str
    values: int = 0
    largest: float = 0.0


def diff(
    a: Annotated[Path, typer.Argument(help="One checkpoint.")],
    b: Annotated[Path, typer.Argument(help="The other, of any format and framework.")],
    from_: Annotated[
        str | None, typer.Option("--from", help=f"{'|'.join(FRAMEWORKS)}, for files that do not tell.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="The branch that holds the weights; twice where the files differ, '' where one has none."),
    ] = None,
    layer: Layers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Compare two checkpoints bit for bit.

    Tensor by tensor, across formats, frameworks and dialects.

    Exit code 0: equal. 1: they differ, and the table says where and by how much. 2: they could not be compared.

    \b
    Examples:
      parity diff cbam.pth cbam.msgpack
      parity diff train.ckpt train.ckpt --key model --key model_ema
      parity diff --json before.safetensors after.safetensors
    """
    differences = compare(a, b, from_, keys_told(key), layers_told(layer))
    if as_json:
        typer.echo(
            json.dumps({"equal": not differences, "differences": [asdict(each) for each in differences]}, indent=2)
        )
    elif differences:
        _show(differences)
    else:
        typer.echo("equal, bit for bit")
    raise typer.Exit(1 if differences else 0)


def keys_told(keys: list[str] | None) -> tuple[str | None, str | None]:
    """The branch to take of each file: one for both, or one for each."""
    if len(keys or ()) > 2:
        raise ParityError(f"--key can be given once or twice, got {', '.join(keys or ())}")
    first, *second = keys or [""]
    return first or None, (second or [first])[0] or None


def compare(
    a: Path,
    b: Path,
    framework: str | None = None,
    keys: tuple[str | None, str | None] = (None, None),
    layers: Mapping[str, str] | None = None,
) -> list[Difference]:
    """The tensors that are not equal bit for bit."""
    one, other = (
        open_file(path, framework=framework, layers=layers, key=key) for path, key in zip((a, b), keys, strict=True)
    )
    left, right = _weights(a, one), _weights(b, other)

    def release() -> None:
        one.release()
        other.release()

    return differences_of(left, right, (a, b), release)


def differences_of(
    left: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    files: tuple[Path, Path],
    release: Callable[[], None],
) -> list[Difference]:
    """The tensors of two files that are not equal bit for bit; `release` lets go of what was read."""
    a, b = files
    differences = [Difference(key, f"only in {a}") for key in left if key not in right]
    differences += [Difference(key, f"only in {b}") for key in right if key not in left]
    with bytes_bar("comparing", sum(array.nbytes for array in left.values())) as advance:
        advance = releasing(release, advance)
        for key in left.keys() & right.keys():
            if (difference := _difference(key, left[key], right[key], advance)) is not None:
                differences.append(difference)
    return sorted(differences, key=lambda each: each.name)


def _weights(path: Path, opened: Opened) -> dict[str, np.ndarray]:
    with about(path):
        return opened.interpret(None).weights


def _difference(key: str, a: np.ndarray, b: np.ndarray, advance: Any) -> Difference | None:
    if a.shape != b.shape:
        return Difference(key, f"shape {a.shape} and {b.shape}")
    values, largest = 0, 0.0
    for x, y in zip(slabs(a), slabs(b), strict=True) if a.dtype == b.dtype else ():
        advance(x.nbytes)
        bits = f"u{x.dtype.itemsize}"
        differs = x.reshape(-1).view(bits) != y.reshape(-1).view(bits)
        if not differs.any():
            continue
        values += int(np.count_nonzero(differs))
        with np.errstate(all="ignore"):
            gap = np.abs(x.reshape(-1)[differs].astype(np.float64) - y.reshape(-1)[differs].astype(np.float64))
        largest = max(largest, float(np.nan_to_num(gap, nan=np.inf).max()))
    if a.dtype != b.dtype:
        return Difference(key, f"dtype {a.dtype} and {b.dtype}")
    return Difference(key, "values", values, largest) if values else None


def _show(differences: list[Difference]) -> None:
    table = Table("tensor", "what differs", "values", "largest difference")
    for each in differences:
        size = (str(each.values), f"{each.largest:.3g}") if each.values else ("", "")
        table.add_row(*map(Text, (each.name, each.what, *size)))
    Console(soft_wrap=True).print(table)
