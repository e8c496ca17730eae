"""`parity convert`: a checkpoint from one file, framework and naming into another."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ParityError
from ..weights import dialects
from ..weights.files import FRAMEWORKS, Opened, about, check_target, open_file, write
from ..weights.files.contents import is_float, outgoing, releasing
from ..weights.files.limits import dtype_named
from ..weights.files.transfer import Moved, plan, way_back
from .diff import differences_of
from .terminal import bytes_bar
from .weights import Key, Layers, layers_told

_FRAMEWORK = "|".join(FRAMEWORKS)

Dialect = Annotated[
    str | None,
    typer.Option(help=f"The system whose names are there: {', '.join(dialects.names())}, or a FILE.toml of rules."),
]
Prefix = Annotated[str | None, typer.Option(help="Take only the layers below this path, and without it.")]


def convert(
    source: Annotated[Path, typer.Argument(help="The checkpoint to read.")],
    target: Annotated[Path, typer.Argument(help="What to write; the suffix says the format.")],
    from_: Annotated[str | None, typer.Option("--from", help=f"{_FRAMEWORK}, where the file does not tell.")] = None,
    to: Annotated[str | None, typer.Option("--to", help=f"{_FRAMEWORK}, where the suffix does not tell.")] = None,
    dialect: Dialect = None,
    prefix: Prefix = None,
    key: Key = None,
    layer: Layers = None,
    dtype: Annotated[
        str | None, typer.Option(help="Write floating-point weights as this: float16, bfloat16, float32, float64.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the target: a file, or an Orbax checkpoint.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Make TARGET a directory of .safetensors of at most this size (2GB) each, with their index."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the target anew and compare it with the source.")
    ] = False,
) -> None:
    """Convert a checkpoint to another format or framework.

    Nothing is lost, and nothing that the file says is run.

    Formats: .safetensors .npz .pt .pth .pdparams .msgpack, and Orbax directories (.orbax or no suffix). Read besides,
    told by their content: .bin, .ckpt, .pth.tar and files without a suffix, *.index.json with its shards, directories
    of published models. What a training script put around the weights is taken off, said, and kept by --dialect none.

    The names of other systems are told from the keys and become this project's; --dialect with weights that have this
    project's names writes the system's, below --prefix if that is given.

    \b
    Examples:
      parity convert timm_cbam.pth cbam.msgpack
      parity convert deeplab.pdparams aspp.pth --prefix head.aspp
      parity convert cbam.msgpack cbam.pth --dialect authors_cbam
      parity convert train.ckpt ema.pdparams --key state_dict_ema
      parity convert pytorch_model.bin.index.json shards --shard 2GB
      parity convert big.npz half.safetensors --dtype bfloat16
      parity convert classifier.pth classifier.pdparams --layer emb=embedding
      parity convert vit.pth vit.msgpack --layer 'encoder.*.attn=attention h=12'
    """
    check_target(target, force=force, shard=shard)
    if source.resolve() in target.resolve().parents:
        raise ParityError(f"{target} cannot be written: it is inside {source}, which is read")
    wanted = None if dtype is None else dtype_named(dtype)
    if wanted is not None and not is_float(wanted):
        raise ParityError(f"--dtype must be of floating point, got {dtype}")
    if verify and wanted is not None:
        raise ParityError("--verify compares bits, which --dtype changes: give one of them")
    opened = open_file(source, framework=from_, layers=layers_told(layer), key=key)
    with about(source):
        moved = plan(opened, target, to=to, dialect=dialect, prefix=prefix, shard=shard)
    with bytes_bar(f"{source.name} to {target.name}", sum(array.nbytes for array in moved.arrays.values())) as advance:
        advance = releasing(opened.release, advance)
        arrays = outgoing(moved.arrays, wanted)
        write(target, arrays, moved.framework, moved.metadata, force=force, advance=advance, shard=shard)
    typer.echo(f"{target}: {len(moved.arrays)} tensors, {opened.framework} to {moved.framework}, {moved.said}")
    if moved.bare:
        typer.echo(f"of no layer, moved with their axes as they are: {_listed(moved.bare)}")
    if moved.skipped:
        typer.echo(f"left out: {_listed(moved.skipped)}")
    if verify:
        _verify(opened, source, target, moved, dialect, prefix)


def _listed(names: tuple[str, ...]) -> str:
    """The first ten, and how many more."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _verify(opened: Opened, source: Path, target: Path, moved: Moved, dialect: str | None, prefix: str | None) -> None:
    """Say in one line whether the target, read anew and brought back, is the source bit for bit; exit code 1 if not."""
    written = open_file(target, framework=moved.framework)
    with about(target):
        given, found = way_back(opened, written, moved, dialect=dialect, prefix=prefix)
    differences = differences_of(given, found, (source, target), written.release)
    for each in differences[:10]:
        typer.echo(f"{each.name}: {each.what}" + (f", {each.values} of them" if each.values else ""))
    typer.echo(
        f"verified: {len(differences)} of {len(given)} tensors differ after the way back"
        if differences
        else f"verified: {len(given)} tensors, equal bit for bit after the way back"
    )
    if differences:
        raise typer.Exit(1)
