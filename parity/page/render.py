"""The page as one file of HTML, without scripts, styles, pictures or fonts from elsewhere.

Whatever stands in a model, a file or a name is text here: Jinja2 escapes it, the page's script writes it as text alone,
and the page's policy lets no script run but its own, which it knows by its hash.
"""

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np

from .model import NAMES, Amounts, Node, Page
from .pictures import SIDE, Picture, shrink

# What all pictures together may take, in bytes, and the fewest pixels of a side that show anything.
BUDGET, FEWEST = 3_000_000, 12
# Beyond it a text is cut, and a table ends.
LONGEST, ROWS = 300, 2000


def render(page: Page) -> bytes:
    """The page in UTF-8."""
    from jinja2 import Environment, StrictUndefined

    here = files(__package__)
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    pictures, shown = _pictures(page)
    html = template.render(
        page=page,
        roots=_nested(page.nodes),
        levels=NAMES,
        rows=ROWS,
        shown=shown,
        # Trusted: of this package, and JSON that holds none of HTML's characters.
        style=_Raw(style),
        script=_Raw(script),
        data=_Raw(_json(_data(page, pictures))),
        hashes={"style": _hash(style), "script": _hash(script)},
    )
    return html.encode("utf-8", "replace")


class _Raw(str):
    """Text that is HTML already."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def _printable(value: Any) -> Any:
    """A value as it may stand in a page: no character that is none there, and no text without end."""
    if not isinstance(value, str) or isinstance(value, _Raw) or hasattr(value, "__html__"):
        return value
    return cut("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value))


def cut(text: str) -> str:
    """The text, or the beginning of it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON that may stand in a script element: ASCII without the characters that end one."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _nested(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """The nodes, each with its number and with those that lie in it."""
    found: dict[str, dict[str, Any]] = {}
    roots: list[dict[str, Any]] = []
    for number, node in enumerate(nodes):
        found[node.path] = {"node": node, "number": number, "inside": []}
        (roots if node.parent is None else found[node.parent]["inside"]).append(found[node.path])
    return roots


def _data(page: Page, pictures: Mapping[tuple[int, str], Any]) -> dict[str, Any]:
    """The data that the page's script shows of a node that is chosen."""
    return {
        "views": [{"pictures": view.pictures, "about": view.about} for view in page.views],
        "ways": page.ways,
        "sides": page.sides,
        "levels": NAMES,
        "nodes": [
            {
                "path": cut(node.path),
                "name": cut(node.name),
                "about": cut(node.about),
                "amounts": [_amounts(amounts) for amounts in node.amounts],
                "lines": [list(map(cut, line)) for line in node.lines],
                "pairs": [list(map(cut, pair)) for pair in node.pairs],
                "tables": [
                    {"title": each.title, "head": each.head, "rows": [list(map(cut, row)) for row in each.rows[:ROWS]]}
                    for each in node.tables
                ],
                "pictures": {key: pictures[number, key] for key in node.pictures if (number, key) in pictures},
            }
            for number, node in enumerate(page.nodes)
        ],
    }


def _amounts(amounts: Amounts) -> list[list[Any] | None]:
    return [
        None if amount is None else [amount.text, amount.level, int(amount.differs), amount.more] for amount in amounts
    ]


def _pictures(page: Page) -> tuple[dict[tuple[int, str], Any], str]:
    """The pictures by the node's number and their word, as many and as fine as the budget lets, and a word on that."""
    found = {(number, key): picture for number, node in enumerate(page.nodes) for key, picture in node.pictures.items()}
    if not found:
        return {}, "There are no maps."
    # Base64 makes four bytes of three, and a picture has three planes.
    side = min(SIDE, math.isqrt(BUDGET // (4 * len(found))))
    if side < FEWEST:
        side = FEWEST
        most = BUDGET // (4 * FEWEST * FEWEST)
        best = sorted(found, key=lambda each: -_rank(found[each]))[:most]
        kept = {each: found[each] for each in found.keys() & set(best)}
    else:
        kept = found
    of = "all" if len(kept) == len(found) else f"those {len(kept)} of {len(found)} that are off most"
    shown = (
        f"Maps: {of}, at most {side} pixels a side along the two longest axes through the worst element;"
        " a pixel shows the element of its block that differs most."
    )
    return {each: _picture(picture, side) for each, picture in kept.items()}, shown


def _rank(picture: Picture) -> float:
    return picture.units if math.isfinite(picture.units) else math.inf


def _picture(picture: Picture, side: int) -> dict[str, Any]:
    pixels, more = shrink(picture.pixels.astype(np.float64), side)
    both = pixels[:2][np.isfinite(pixels[:2])]
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 0.0)
    apart = pixels[2][np.isfinite(pixels[2])]
    most = float(apart.max()) if apart.size else 0.0
    planes = np.concatenate([_bytes(pixels[:2], low, high), _bytes(pixels[2:], 0.0, most)])
    return {
        "name": cut(picture.name),
        "size": pixels.shape[1:],
        "pixels": b64encode(planes.tobytes()).decode(),
        "range": [_short(low), _short(high), _short(most)],
        "axes": picture.axes,
        "step": [a * b for a, b in zip(picture.step, more, strict=True)],
        "shape": picture.shape,
        "index": picture.index,
        "values": [_exact(picture.original), _exact(picture.port), _short(abs(picture.port - picture.original))],
        "units": _short(picture.units),
        "edges": picture.histogram.edges,
        "counts": picture.histogram.counts,
        "exact": picture.histogram.exact,
        "unit": picture.histogram.unit,
    }


def _bytes(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """The pixels as 1 to 255; 0 is what is not finite."""
    scale = 254.0 / (high - low) if high > low else 0.0
    good = np.isfinite(pixels)
    return np.where(good, 1 + np.round((np.where(good, pixels, low) - low) * scale), 0).astype(np.uint8)


def _short(value: float) -> str:
    return f"{value:.4g}"


def _exact(value: float) -> str:
    return f"{value:.9g}"
