"""The facts that make the three implementations mirrors, read from their source, and their differences."""

import ast
import re
from itertools import zip_longest

# One name for what each framework calls in its own way.
SAME = {
    "Layer": "Module",
    "LayerList": "List",
    "ModuleList": "List",
    "BatchNorm2d": "BatchNorm",
    "BatchNorm2D": "BatchNorm",
    "forward": "__call__",
    "Array": "Tensor",
    "Conv2d": "Conv",
    "Conv2D": "Conv",
    "nn": "nnx",
}

Fact = tuple[str, ...]


def facts(source: str) -> list[Fact]:
    """Every class, function, argument, default, annotation, attribute and local name of a file, in order."""
    found: list[Fact] = []
    for node in ast.parse(source).body:
        _visit(node, "", found)
    return found


def differences(file: str, one: str, other: str) -> list[str]:
    """List the differences of two sources of `file` as mirrors: a line for each fact in which they differ."""
    pairs = zip_longest(facts(one), facts(other), fillvalue=("nothing",))
    return [f"{file}: {' '.join(a)} against {' '.join(b)}" for a, b in pairs if a != b]


def _visit(node: ast.stmt, path: str, found: list[Fact]) -> None:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(_plain(ast.unparse(base)) for base in node.bases)
        found.append(("class", path + node.name, bases))
        found.append(("docstring", path + node.name, _prose(node)))
        for child in node.body:
            _visit(child, f"{path}{node.name}.", found)
    elif isinstance(node, ast.FunctionDef):
        name = path + SAME.get(node.name, node.name)
        found.append(("function", name, _signature(node.args), _plain(ast.unparse(node.returns or ast.Constant(None)))))
        found.append(("docstring", name, _prose(node)))
        for statement in ast.walk(node):
            if isinstance(statement, ast.Assign | ast.For):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                found += [("assigns", name, ast.unparse(target)) for target in targets]
    elif isinstance(node, ast.Assign):
        found.append(("constant", path + ast.unparse(node)))


def _signature(arguments: ast.arguments) -> str:
    """The arguments with annotations and defaults; Flax's `rngs` alone is its own."""
    arguments = ast.parse(f"lambda {ast.unparse(_without_annotations(arguments))}: 0", mode="eval").body.args
    named = [pair for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if pair[0].arg != "rngs"]
    arguments.kwonlyargs, arguments.kw_defaults = [pair[0] for pair in named], [pair[1] for pair in named]
    return ast.unparse(arguments)


def _without_annotations(arguments: ast.arguments) -> ast.arguments:
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    return arguments


def _plain(text: str) -> str:
    return re.sub(r"\w+", lambda word: SAME.get(word[0], word[0]), text)


def _prose(node: ast.ClassDef | ast.FunctionDef) -> str:
    """The docstring without what the order of axes changes in it: the shapes in brackets."""
    return re.sub(r"\((\w+, )+.*?\)(?=[\s,;.]|$)", "(shape)", ast.get_docstring(node) or "")
