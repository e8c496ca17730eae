"""The results of a run as a page: a tree of modules and their cases, in each framework and precision."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..catalogue.cases import Case
from ..page.model import Amount, Amounts, Finding, Node, Page, Table, View, number
from ..page.pictures import Picture
from ..verdict.judge import NOISE_LIMIT, RELATIVE, RELATIVE_LIMIT
from ..verdict.results import Report, Result
from .report import describe_extent, describe_special

# The way that each check goes.
WAYS = {"forward": "forward", "gradients": "backward", "training": "training", "steps": "training", "batch": "batch"}
HEAD = ("framework", "device", "precision", "check", "error", "limit", "unit", "verdict", "why")
# So many failures are said at the top; the tables have all.
FAILURES = 20


def to_page(report: Report, cases: Mapping[str, Case], *, records: Sequence[tuple[str, str]] = ()) -> Page:
    """The page of a run's report, or of the records that were compared.

    Args:
        report: The results, with their pictures where those were asked for.
        cases: The catalogue by name, which says what a case is.
        records: Each record's file, and what it holds.
    """
    results = report.results
    every = [*results, *report.more]
    failed = [result for result in every if not result.passed]
    places = list(dict.fromkeys((result.framework, result.dtype) for result in results))
    # Noise units say more than a relative error where all is the same.
    places.sort(key=lambda place: place[1] == "float64")
    if failed and (failed[0].framework, failed[0].dtype) in places:
        places.insert(0, places.pop(places.index((failed[0].framework, failed[0].dtype))))
    ways = tuple(dict.fromkeys(WAYS[word] for word in WAYS if any(_word(result) == word for result in results)))
    names = list(dict.fromkeys(result.case for result in results))
    checked = describe_extent(report)
    environment = ", ".join(f"{key} {value}" for key, value in report.environment.items() if key != "backends")
    pairs = Table("Two runs against each other", ("case", *HEAD), [(each.case, *_row(each)) for each in report.more])
    subject, more = ("Records", " and each other" * (len(records) > 1)) if records else ("The catalogue", "")
    return Page(
        title=f"{subject}, held against the reference{more}",
        passed=report.passed,
        verdict=f"{'all the same' if report.passed else f'{len(failed)} checks failed'}: {checked}",
        facts=[*records, ("judged with" if records else "computed with", environment)],
        findings=[Finding(f"{len(failed)} checks failed", _say(failed))] if failed else [],
        tables=[pairs] if report.more else [],
        views=[_view(*place) for place in places],
        ways=ways,
        sides=("reference", "computed"),
        tree="Modules and cases",
        nodes=[*_nodes(report, names, cases, places, ways, failed[0].case if failed else "")],
        notes=[*report.notes, *(f"{line} ({', '.join(where)})" for line, where in describe_special(results).items())],
    )


def _word(result: Result) -> str:
    return result.check.split()[0]


def _view(framework: str, dtype: str) -> View:
    about = (
        f"float64: relative to the largest value, at most {RELATIVE_LIMIT:g}."
        if dtype == "float64"
        else f"Noise units of {dtype}, at most {NOISE_LIMIT:g}; training in drifts."
    )
    return View(f"{framework}, {dtype}", f"{framework} {dtype}", f"{about} The worst of all modes and executions.")


def _say(failed: Sequence[Result]) -> list[str]:
    lines = [f"{each.case} in {each.framework}, {each.dtype}, {each.check}: {each.why}" for each in failed[:FAILURES]]
    return lines + ([f"and {len(failed) - FAILURES} more, in the tables of their cases"] if failed[FAILURES:] else [])


def _nodes(
    report: Report,
    names: Sequence[str],
    cases: Mapping[str, Case],
    places: Sequence[tuple[str, str]],
    ways: Sequence[str],
    first: str,
) -> Iterable[Node]:
    """Each module with the worst of its cases, and each case."""
    for module in dict.fromkeys(name.partition("/")[0] for name in names):
        inside = [name for name in names if name.partition("/")[0] == module]
        of_module = [result for result in report.results if result.case in inside]
        amounts = _amounts(of_module, places, ways)
        yield Node(module, None, module, f"{len(inside)} case{'s' * (len(inside) > 1)}", amounts)
        for name in inside:
            results = [result for result in of_module if result.case == name]
            case = cases.get(name)
            lines = []
            if case is not None:
                shape = " x ".join(map(str, case.shape))
                lines = [("module", case.call), ("input", f"{case.input} {shape}"), ("weights", case.weights)]
            yield Node(
                path=name,
                parent=module,
                name=name.partition("/")[2],
                about=case.why if case is not None else "",
                amounts=_amounts(results, places, ways),
                marked=name == first,
                lines=lines,
                tables=[Table("Checks", HEAD, [_row(result) for result in results])],
                pictures=_pictures(report, results, places, ways),
            )


def _amounts(results: Sequence[Result], places: Sequence[tuple[str, str]], ways: Sequence[str]) -> list[Amounts]:
    found = []
    for place in places:
        worst = [_worst(results, place, way) for way in ways]
        found.append(tuple(None if each is None else _amount(each) for each in worst))
    return found


def _worst(results: Iterable[Result], place: tuple[str, str], way: str) -> Result | None:
    """The judged result of a way that is off most."""
    fits = [
        result
        for result in results
        if (result.framework, result.dtype) == place and WAYS[_word(result)] == way and result.judged
    ]
    return max(fits, key=_rank, default=None)


def _rank(result: Result) -> tuple[bool, float]:
    return not result.passed, result.error


def _amount(result: Result) -> Amount:
    more = f"{result.check}: {result.error:.2g} {result.unit}, at most {result.limit:.2g} may be"
    if result.unit == RELATIVE:
        return Amount.relative(result.error, 2.0**-53, differs=not result.passed, more=more)
    return Amount.of(result.error, number(result.error), differs=not result.passed, more=more)


def _pictures(
    report: Report, results: Sequence[Result], places: Sequence[tuple[str, str]], ways: Sequence[str]
) -> dict[str, Picture]:
    """For each view and way the picture of the check that is off most."""
    found = {}
    for framework, dtype in places:
        for way in ways:
            worst = _worst(results, (framework, dtype), way)
            picture = report.pictures.get((worst.case, framework, dtype, worst.check)) if worst else None
            if worst is not None and picture is not None:
                found[f"{framework} {dtype} {way}"] = replace(picture, name=f"{worst.check}, {picture.name}")
    return found


def _row(result: Result) -> tuple[str, ...]:
    word = "DIFFERS" if not result.passed else result.verdict.value
    numbers = (f"{result.error:.2g}", f"{result.limit:.2g}", result.unit) if result.judged else ("", "", "")
    return (result.framework, result.device, result.dtype, result.check, *numbers, word, result.why)
