"""The rooms of `parity/`: what each may import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the top down: a room may import those to its right.
ROOMS = (
    "cli",
    "runs",
    "lower",
    "port",
    "montecarlo",
    "verdict",
    "workers",
    "weights",
    "reference",
    "frameworks",
    "catalogue",
    "page",
)
# Neighbours that know nothing of each other.
STRANGERS = {("reference", "frameworks"), ("runs", "port"), ("runs", "montecarlo")}


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def imports(path):
    """The modules of this project that a file imports, wherever in it."""
    package = ("parity", *path.relative_to(ROOT / "parity").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *((node.module,) if node.module else ())))
            # `from .. import frameworks` names the room after the word import.
            yield from ([f"{module}.{alias.name}" for alias in node.names] if module == "parity" else [module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


FILES = sorted((ROOT / "parity").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    mine = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imports(path):
        other = room_of(module)
        if mine and other and mine != other:
            assert ROOMS.index(mine) < ROOMS.index(other), f"{mine} must not import {module}"
            assert (mine, other) not in STRANGERS, f"{mine} must not import {module}"
        if module.endswith("_impl") or "_impl." in module:
            assert mine == "frameworks", f"{module} is for the adapters alone"


def test_the_order_is_read_from_real_imports():
    found = {
        (room_of(".".join(p.relative_to(ROOT).with_suffix("").parts)), room_of(m)) for p in FILES for m in imports(p)
    }
    assert {("cli", "runs"), ("runs", "verdict"), ("verdict", "workers"), ("weights", "frameworks")} <= found
