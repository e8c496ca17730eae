"""Options of the commands on files of weights, and what their values become."""

from typing import Annotated

import typer

from ..errors import ParityError

Key = Annotated[
    str | None,
    typer.Option(help="The branch that holds the weights, such as state_dict_ema; left out, the likeliest."),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", help="PATH=KIND, what names and shapes do not tell of a layer: 'emb=embedding'. Repeatable."
    ),
]


def layers_told(options: list[str] | None) -> dict[str, str]:
    """The kinds of layers by path, from options PATH=KIND."""
    told: dict[str, str] = {}
    for option in options or ():
        path, equals, kind = option.partition("=")
        if not equals:
            raise ParityError(f"--layer must be PATH=KIND, such as 'emb=embedding', got {option!a}")
        while path in told and path.endswith("*"):
            path += "*"  # another kind for the same layers: the first that fits has each
        if path in told:
            raise ParityError(f"--layer {path!a} is given twice, as {told[path]!a} and {kind!a}")
        told[path] = kind
    return told
