"""`parity inspect`: what a checkpoint holds."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ParityError
from ..weights.files import FRAMEWORKS, Checkpoint, open_file, printable
from ..weights.files.contents import Outgoing
from .terminal import bytes_bar, releasing


def inspect(
    file: Annotated[Path, typer.Argument(help="The checkpoint.")],
    from_: Annotated[str | None, typer.Option("--from", help=f"{'|'.join(FRAMEWORKS)}, if the file is mute.")] = None,
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
    """
    report = describe(file, from_)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(report)


def describe(file: Path, framework: str | None = None) -> dict[str, Any]:
    """What `parity inspect --json` prints."""
    opened = open_file(file, framework=framework)
    try:
        checkpoint, problem = opened.interpret(None), None
    except ParityError as error:
        # What fits no table is what one wants to look at: as the file has it.
        checkpoint = Checkpoint(opened.arrays, opened.framework, metadata=opened.metadata, skipped=opened.skipped)
        problem = printable(str(error))
    total = sum(array.nbytes for array in checkpoint.weights.values())
    tensors = []
    with bytes_bar(file.name, total) as advance:
        advance = releasing(opened.release, advance)
        for name, array in checkpoint.weights.items():
            digest = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
            Outgoing(array, array.dtype).write(_Sink(digest), advance)
            shape, dtype = list(array.shape), array.dtype.name
            tensors.append({"name": name, "shape": shape, "dtype": dtype, "sha256": digest.hexdigest()})
    return {
        "file": str(file),
        "framework": checkpoint.framework,
        "dialect": checkpoint.dialect,
        "module": checkpoint.module,
        "problem": problem,
        "metadata": checkpoint.metadata,
        "skipped": list(checkpoint.skipped),
        "bytes": total,
        "tensors": tensors,
    }


class _Sink:
    """A file that keeps only the digest of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self.write = digest.update


def _show(report: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    dialect = f"{report['dialect']} ({report['module']})" if report["dialect"] else "unknown, names kept"
    # Text, and not markup: what a file holds must not colour or link anything here.
    console.print(
        Text(f"{report['file']}: {report['framework']}, dialect {dialect}, {report['bytes']} bytes of weights")
    )
    if report["problem"]:
        console.print(Text(f"as the file has them: {report['problem']}"))
    table = Table("name", "shape", "dtype", "sha256")
    for tensor in report["tensors"]:
        row = tensor["name"], " ".join(map(str, tensor["shape"])), tensor["dtype"], tensor["sha256"][:12]
        table.add_row(*map(Text, row))
    console.print(table)
    for key, value in report["metadata"].items():
        console.print(Text(printable(f"{key}: {value[:200]}")))
    if report["skipped"]:
        console.print(Text(f"also there: {', '.join(report['skipped'][:20])}"))
