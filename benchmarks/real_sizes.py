"""The cases at real size in every framework: a table for docs/gpu.md, with what the reference took for it.

Usage: python benchmarks/real_sizes.py [CASE...]; all of them take half an hour and 8 GB on two cores.

Each case runs in a process of its own: first the reference alone, whose time and memory are measured, then the
frameworks one after another.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from parity.catalogue.cases import REAL_SIZES, Case, select
from parity.catalogue.inputs import default_image, read_image
from parity.catalogue.tasks import DTYPES
from parity.errors import ParityError
from parity.frameworks import FRAMEWORKS
from parity.runs.run import draw, plan_all
from parity.verdict import expect
from parity.verdict.expect_all import Expectations, expect_case
from parity.verdict.judge import Noise
from parity.verdict.judge_all import judge_all
from parity.verdict.results import Result, Status
from parity.workers import pool
from parity.workers.backend import Backend

CHECKS = ("forward", "gradients")
UNCERTAINTY = expect.uncertainty
TITLE = ("case", "precision", *FRAMEWORKS, "draws", "unit known within", "reference")


def rows(case: Case, dtypes: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A row for each precision: the largest error of each framework, and what the reference took."""
    drawn = draw(case, read_image(default_image()), 0)
    expectations: Expectations = {}
    took = {}
    for dtype in dtypes:
        begin, sure = time.perf_counter(), Watch()
        expectations |= expect_case(case, drawn, [dtype], CHECKS)
        took[dtype] = (str(sure.draws), f"{sure.within:.0%}", f"{time.perf_counter() - begin:.0f} s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    results: list[Result] = []
    for framework in FRAMEWORKS:
        jobs = plan_all([case], [framework], CHECKS, dtypes, ["eager"])
        outcomes = pool.compute([Backend(framework)], pool.list_arrays({case.name: drawn}, {}), jobs)
        results += judge_all(outcomes, jobs, expectations, 0).results
    for result in results:
        print(case.name, result.framework, result.dtype, result.check, result.error, result.why, file=sys.stderr)
    cells = {dtype: [cell(results, dtype, framework) for framework in FRAMEWORKS] for dtype in dtypes}
    print(f"{case.name}: the reference's largest memory {memory:.1f} GB", file=sys.stderr)
    return [(case.name, dtype, *cells[dtype], *took[dtype]) for dtype in dtypes]


class Watch:
    """The number of draws that the noise took and how sure the unit is, from when `expect` asks for it."""

    draws, within = 0, 0.0

    def __init__(self) -> None:
        expect.uncertainty = self.measure

    def measure(self, draws: Sequence[Mapping[str, Mapping[str, Noise]]]) -> float:
        """Call `expect.uncertainty`, and remember its answer."""
        self.draws, self.within = len(draws), UNCERTAINTY(draws)
        return self.within


def cell(results: list[Result], dtype: str, framework: str) -> str:
    """The largest error in noise units, with what could not be judged."""
    mine = [result for result in results if (result.dtype, result.framework) == (dtype, framework)]
    if any(result.verdict is Status.DIFFERS for result in mine):
        return "DIFFERS: " + next(result.why for result in mine if result.verdict is Status.DIFFERS)
    errors = [result.error for result in mine if result.judged]
    return f"{max(errors):.2g}" if errors else "no kernels"


def main(names: list[str]) -> None:
    """Print the table."""
    if names[:1] == ["--one"]:
        for row in rows(select([names[1]])[0], DTYPES[1:]):
            print(f"| {' | '.join(row)} |")
        return
    select(names)  # for its error, before any work is done
    print(f"| {' | '.join(TITLE)} |\n|{'---|' * len(TITLE)}", flush=True)
    for name in names or [case.name for case in REAL_SIZES]:
        subprocess.run([sys.executable, __file__, "--one", name], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ParityError as error:
        print(f"real_sizes: {error}", file=sys.stderr)
        sys.exit(2)
