"""`parity answer FILE`: compute what a capsule asks on this machine, judge it, and write a record.

It needs NumPy, safetensors and one of the frameworks, and nothing else of what `parity` needs: no Typer, no Rich.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .errors import ParityError

DESCRIPTION = """Compute what a capsule asks with the frameworks that are installed here, on a GPU if one is seen.

Writes a record with versions, device, driver, switches and what the precision probe measured; whoever sent the capsule
judges it with `parity compare`. Nothing of the capsule is executed, unless --run-compiled asks for its
executables; what they give is compared bit for bit with what Flax's compiler makes here. Exit code 0: all the same;
1: something differs; 2: it could not run.

parity answer all.capsule"""


def main(arguments: Sequence[str]) -> int:
    """Answer, and return the exit code."""
    options = _parse(arguments)
    # NumPy takes a while to import, and `--help` needs none of it.
    from .frameworks import FRAMEWORKS, devices, installed
    from .runs import capsule as capsules
    from .runs import record_file as records
    from .verdict.programs import summarize
    from .weights.files import atomic
    from .workers.backend import Backend

    names = [name for name in FRAMEWORKS if installed(name) and options.framework in ("", name)]
    if options.framework and options.framework not in FRAMEWORKS:
        raise ParityError(f"--framework must be one of {', '.join(FRAMEWORKS)}, got {options.framework!r}")
    if not names:
        wanted = options.framework or " or ".join(FRAMEWORKS)
        raise ParityError(f"{wanted} is not installed for {sys.executable}; one framework is needed")
    places = devices.parse([options.device])
    capsule = capsules.read(options.file)
    output = options.output or Path(f"{options.file.stem}-{'-'.join(names)}.record")
    atomic.check_target(output, force=options.force)
    total, done = len(capsule.planned.cases) * len(names), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r{done} of {total} cases", end="" if done < total else "\n", file=sys.stderr, flush=True)

    backends = [Backend(name, places[name]) for name in names]
    record, report = capsules.answer(
        capsule, backends, run_compiled=options.run_compiled, timeout=options.timeout, advance=advance
    )
    records.write(output, record, force=options.force)
    for outcome in record.outcomes:
        device = outcome.facts["device"]
        versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
        print(f"{outcome.framework} on {device['id']} ({device.get('name', 'unknown')}): {versions}")
    for line in report.notes:
        print(line)
    for line in summarize(report.more):
        print(line)
    for result in (result for result in (*report.results, *report.more) if not result.passed):
        print(f"FAILED {result.case} in {result.framework}, {result.dtype}, {result.check}: {result.why}")
    failed = sum(not result.passed for result in (*report.results, *report.more))
    print(
        f"{f'{failed} checks failed' if failed else 'all the same'}: {len(report.results)} checks; send back {output}"
    )
    return 0 if report.passed else 1


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are a line, as those of all commands."""

    def error(self, message: str) -> NoReturn:
        raise ParityError(f"{message}; see `parity answer --help`")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser("parity answer", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what `parity capsule` wrote")
    parser.add_argument("-o", "--output", type=Path, help="the record to write; FILE-FRAMEWORK.record if left out")
    parser.add_argument("--framework", default="", help="one of those installed; all of them if left out")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), gpu, cpu, or such as cuda:1")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds that a framework may say nothing")
    parser.add_argument(
        "--run-compiled",
        action="store_true",
        help="run the capsule's executables too; they are code of whoever made it, and do whatever they like",
    )
    parser.add_argument("--force", action="store_true", help="replace the record if it exists")
    return parser.parse_args(arguments)
