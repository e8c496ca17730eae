"""`parity port`: is my port right, where is the first difference, and what is its cause."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import ParityError
from ..page.render import render
from ..port import compare, inputs, text
from ..port.junit import to_junit
from ..port.page import to_page
from ..port.report import to_json
from ..weights.files.atomic import write_bytes
from ..weights.files.targets import refusal
from ..workers import interpreters
from .options import Html, Json, check_reports, choose, split
from .terminal import console


def port(
    original: Annotated[str, typer.Argument(help="FILE.py:FACTORY or package.module:factory; it gives the model.")],
    port: Annotated[str, typer.Argument(help="The same for the port, in any framework.")],
    shape: Annotated[
        list[str] | None,
        typer.Option(help="An input drawn: 2,3,64,64, with 2,3,64,64:ties, or integers 2,16:int<1000; repeatable."),
    ] = None,
    input: Annotated[
        list[Path] | None, typer.Option(help="Inputs from .npz, .npy or a photograph, as the original takes them.")
    ] = None,
    axes: Annotated[
        list[str] | None, typer.Option(help="An input's axes in original and port: ncl->nlc; repeatable.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A checkpoint for the original, of any format.")] = None,
    rules: Annotated[
        str | None, typer.Option(help="A file of rules, or a dialect, from the original's names to the port's.")
    ] = None,
    write_rules: Annotated[
        Path | None, typer.Option(help="Write how weights were paired, split and joined, for --rules.")
    ] = None,
    check: Annotated[
        list[str] | None, typer.Option(help="eval, train or training: ten steps; repeatable, or a,b.")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="float64, float32, bfloat16 or float16; repeatable, or a,b.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Judge the port compiled too: torch.compile, jax.jit, to_static.")
    ] = False,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Keep weights that hold one value throughout, which hide mistakes.")
    ] = False,
    own_weights: Annotated[
        bool, typer.Option("--own-weights", help="Both keep theirs, as after folding or fusing in float64.")
    ] = False,
    python: Annotated[
        list[str] | None, typer.Option(help="An interpreter, original=ENV/bin/python or port=...; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn inputs.")] = 0,
    json: Json = None,
    html: Html = None,
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML to this file too.")] = None,
) -> None:
    """Compare a port of any model with its original: the verdict, the first layer that differs, and the cause.

    Both are built, each in a process of its own, the port gets the original's weights, and both get the same inputs.
    float64 shows whether they are the same function, outputs and gradients, in eval and train mode; float32 whether the
    port computes it honestly, in units of the rounding noise measured on the original. No tolerance is asked for.
    Where they differ, each layer of the port is fed the original's own tensors: what it adds is told from what it
    inherits. Exit code 0: the same; 1: something differs; 2: it could not run.

    \b
    parity port net.py:build net_flax.py:build --shape 2,3,64,64
    parity port timm_net.py:build port.py:build --input cat.jpg --weights net.safetensors
    parity port lstm.py:build lstm_paddle.py:build --shape '4,20:int<1000'
    parity port net.py:build net_flax.py:build --shape 2,3,64,64 --html report.html
    """
    reports = {"--json": json, "--html": html, "--junit": junit, "--write-rules": write_rules}
    sources = [Path(side.rpartition(":")[0]) for side in (original, port)]
    output = check_reports(reports, *(input or ()), *sources, *([Path(rules)] if rules else ()), weights)
    if write_rules is not None and write_rules.is_file():
        raise refusal(write_rules, "it is there, and may have been corrected by hand; name another")
    if own_weights and (rules or write_rules or weights):
        raise ParityError("--own-weights pairs none: leave --rules, --write-rules and --weights out")
    arrays = [array for path in input or () for array in inputs.from_file(path)]
    arrays += inputs.from_shapes(shape or [], seed)
    if not arrays:
        raise ParityError("an input is needed: --shape 2,3,64,64 draws one, --input FILE reads one")
    modes = choose(split(check), compare.MODES, "--check") if check else compare.USUAL_MODES
    dtypes = choose(split(dtype), compare.DTYPES, "--dtype") if dtype else compare.USUAL
    with _progress() as advance:
        report = compare.port(
            original,
            port,
            arrays,
            checkpoint=weights,
            rules=rules,
            axes=inputs.parse_axes(axes or [], len(arrays)),
            pythons=_pythons(python or []),
            modes=modes,
            dtypes=dtypes,
            compiled=compile,
            redraw=not as_is,
            write_rules=write_rules,
            own_weights=own_weights,
            detail=html is not None,
            advance=advance,
        )
    text.print_report(report, console(output))
    if json is not None:
        write_bytes(json, to_json(report).encode(), force=True)
    if html is not None:
        write_bytes(html, render(to_page(report)), force=True)
    if junit is not None:
        write_bytes(junit, to_junit(report), force=True)
    raise typer.Exit(0 if report.passed else 1)


def _pythons(values: Sequence[str]) -> dict[str, str]:
    """Read `--python`, an interpreter for each side named.

    Raises:
        ParityError: for what is no side, or a file that cannot be run.
    """
    found = {}
    for value in values:
        side, equals, path = value.partition("=")
        if not equals or side not in ("original", "port"):
            raise ParityError(f"--python must be original=ENV/bin/python or port=ENV/bin/python, got {value!r}")
        found[side] = path
    return interpreters.check(found, Path())


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show what is done at the moment, on a terminal's standard error; nothing elsewhere."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda _: None
        return
    with screen.status("starting") as status:
        yield status.update
