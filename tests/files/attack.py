"""Reads and converts each crafted file in a process of its own, and says what came of it.

Usage: attack.py FOLDER, in which each folder holds one `target.json` with the path of a crafted file.
"""

import json
import sys
import time
from pathlib import Path

import parity
from parity.weights.files import open_file
from parity.weights.files.transfer import plan


def attempt(path: Path, out: Path) -> dict[str, object]:
    start = time.process_time()  # of work: the machine may have other work too
    outcome: dict[str, object] = {"error": None, "message": ""}
    try:
        opened = open_file(path, framework=None)
        plan(opened, out, to="torch", dialect=None, prefix=None)
        parity.load(path)
    except BaseException as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    seconds = time.process_time() - start
    return {**outcome, "seconds": seconds}


if __name__ == "__main__":
    import tensorstore  # noqa: F401 -- so that its import is not in the first Orbax directory's time

    results = {}
    for case in sorted(Path(sys.argv[1]).iterdir()):
        target = Path(json.loads((case / "target.json").read_text()))
        results[case.name] = attempt(target, case / "out.npz")
    print(json.dumps(results))
