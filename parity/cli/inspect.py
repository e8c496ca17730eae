"""`parity inspect`: what a checkpoint holds."""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..errors import ParityError, printable, shortened
from ..frameworks.layers import Weights
from ..weights.files import FRAMEWORKS, MAX_MESSAGE, Checkpoint, open_file
from ..weights.files.budget import without_collector
from ..weights.files.contents import Advance, Outgoing, dtype_name, releasing
from .terminal import bytes_bar
from .weights import Key, Layers, layers_told


def inspect(
    file: Annotated[Path, typer.Argument(help="The checkpoint.")],
    from_: Annotated[str | None, typer.Option("--from", help=f"{'|'.join(FRAMEWORKS)}, if the file is mute.")] = None,
    key: Key = None,
    layer: Layers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the names, shapes, dtypes and digests in a checkpoint.

    And whose it is: its framework and its dialect. Nothing in it is run.

    A digest is of a tensor's canonical form: weights that are equal bit for bit have equal digests in every format,
    framework and dialect. Keys that fit no dialect are shown as the file has them, with the reason.

    \b
    Examples:
      parity inspect cbam.pth
      parity inspect --json cbam.msgpack | jq .tensors
      parity inspect train.ckpt --key state_dict_ema
    """
    report = describe(file, from_, key, layers_told(layer))
    if as_json:
        _print_json(report)
    else:
        _show(report)


def describe(
    file: Path, framework: str | None = None, key: str | None = None, layers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The output of `parity inspect --json`."""
    opened = open_file(file, framework=framework, layers=layers, key=key)
    try:
        checkpoint, problem = opened.interpret(None), None
    except ParityError as error:
        # What fits no table is what one wants to look at: as the file has it.
        given, taken = Weights(opened.arrays), opened.wrappers
        checkpoint = Checkpoint(
            given, opened.framework, metadata=opened.metadata, skipped=opened.skipped, wrappers=taken
        )
        problem = shortened(printable(str(error)), MAX_MESSAGE)
    total = sum(array.nbytes for array in checkpoint.weights.values())
    with bytes_bar(file.name, total) as advance, without_collector():
        advance = releasing(opened.release, advance)
        tensors = [_describe(name, array, advance) for name, array in checkpoint.weights.items()]
    return {
        "file": str(file),
        "framework": checkpoint.framework,
        "dialect": checkpoint.dialect,
        "module": checkpoint.module,
        "problem": problem,
        "wrappers": list(checkpoint.wrappers),
        "metadata": checkpoint.metadata,
        "skipped": list(checkpoint.skipped),
        "bytes": total,
        "tensors": tensors,
    }


def _describe(name: str, array: np.ndarray, advance: Advance) -> dict[str, Any]:
    dtype = dtype_name(array.dtype)
    digest = hashlib.sha256(f"{dtype} {array.shape}\n".encode())
    Outgoing(array, array.dtype).write(_Sink(digest), advance)
    return {"name": name, "shape": list(array.shape), "dtype": dtype, "sha256": digest.hexdigest()}


class _Sink:
    """A file that keeps only the digest of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self.write = digest.update


def _print_json(report: dict[str, Any]) -> None:
    """A tensor to a line, because `json` takes five times as long to indent a hundred thousand."""
    rest = {key: value for key, value in report.items() if key != "tensors"}
    typer.echo(json.dumps(rest, indent=2).removesuffix("\n}") + ',\n  "tensors": [')
    last = len(report["tensors"]) - 1
    for i, tensor in enumerate(report["tensors"]):
        sys.stdout.write(f"    {json.dumps(tensor)}{',' if i < last else ''}\n")
    typer.echo("  ]\n}")


def _show(report: dict[str, Any]) -> None:
    dialect = f"{report['dialect']} ({report['module']})" if report["dialect"] else "unknown, names kept"
    head = f"{report['file']}: {report['framework']}, dialect {dialect}, {report['bytes']} bytes of weights"
    typer.echo(printable(head))
    if report["wrappers"]:
        typer.echo(printable(f"taken out of {' and '.join(report['wrappers'])}"))
    if report["problem"]:
        typer.echo(f"as the file has them: {report['problem']}")
    # Columns by hand: rich takes a millisecond for each row of a table.
    rows = [("name", "shape", "dtype", "sha256")]
    rows += [
        (tensor["name"], " ".join(map(str, tensor["shape"])), tensor["dtype"], tensor["sha256"][:12])
        for tensor in report["tensors"]
    ]
    name, shape, dtype = (max(len(row[i]) for row in rows) for i in range(3))
    for row in rows:
        sys.stdout.write(f"{row[0]:{name}}  {row[1]:{shape}}  {row[2]:{dtype}}  {row[3]}\n")
    for key, value in report["metadata"].items():
        typer.echo(printable(f"{key[:200]}: {value[:200]}"))
    if report["skipped"]:
        typer.echo(printable(f"also there: {', '.join(report['skipped'][:20])}"))
