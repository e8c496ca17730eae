"""The form that data from outside must have, written as data: `{"seed": int, "cases": [str]}`."""

import math
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any

from .errors import ParityError

# Beyond it no count and no seed makes sense, and other programs' integers end.
LARGEST = 2**63 - 1
# What a line shows of a value.
SHOWN = 60


def check(value: Any, form: Any, where: str) -> None:
    """Hold what JSON gave to a form.

    Args:
        value: It may be anything that `json.loads` returns.
        form: `str`, `bool`, `int` (0 to LARGEST) or `float` (a finite number) is that type; `a | b` is either; a
            pattern is text that matches it wholly; a tuple is one of its members; `[form]` is a list of them; a
            mapping has these keys and no others, those that end in "?" need not be there, and `str` is any other key.
        where: It names the value in the error.

    Raises:
        ParityError: Where the value is of another form; the line names the place, the form, and the value.
    """
    if form is object:
        return
    match form:
        case list():
            _expect(isinstance(value, list), value, "a list", where)
            for i, part in enumerate(value):
                check(part, form[0], f"{where}[{i}]")
        case Mapping():
            _expect(isinstance(value, dict), value, "a table", where)
            _check_table(value, form, where)
        case tuple():
            _expect(isinstance(value, str) and value in form, value, f"one of {', '.join(form)}", where)
        case re.Pattern():
            _expect(isinstance(value, str) and form.fullmatch(value), value, f"text like {form.pattern}", where)
        case UnionType():
            names = " or ".join(NAMES[each] for each in form.__args__)
            _expect(any(_is(value, each) for each in form.__args__), value, names, where)
        case _:
            _expect(_is(value, form), value, NAMES[form], where)


NAMES = {str: "text", bool: "true or false", int: f"a whole number from 0 to {LARGEST}", float: "a finite number"}


def _check_table(value: dict[str, Any], form: Mapping[Any, Any], where: str) -> None:
    for key in form.keys() - {str}:
        if key not in value:
            raise ParityError(f"{where} has no {key}")
    for key, part in value.items():
        if key not in form and str not in form:
            raise ParityError(f"{where} may hold {', '.join(form)}, got {show(key)}")
        check(part, form[key] if key in form else form[str], f"{where}.{show(key)[1:-1]}")


def _is(value: Any, form: type) -> bool:
    # True is an integer in Python, and in no file.
    if form is int:
        return type(value) is int and 0 <= value <= LARGEST
    if form is float:
        return abs(value) <= LARGEST if type(value) is int else type(value) is float and math.isfinite(value)
    return type(value) is form


def _expect(right: Any, value: Any, what: str, where: str) -> None:
    if not right:
        raise ParityError(f"{where} must be {what}, got {show(value)}")


def show(value: Any) -> str:
    """The beginning of a value in one printable line."""
    text = ascii(value[:SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN + 2 else f"{text[:SHOWN]}..."
