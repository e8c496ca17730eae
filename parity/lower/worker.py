"""The process that compiles: `python -m parity.lower.worker DESCRIPTOR FRAMEWORK FOLDER`.

It reads `job.json` from the folder and writes a line of JSON for each program to the descriptor that it inherits, so
that its standard output and error belong to the framework.
"""

import importlib.util
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..port.load import load_factory
from .controls import CONTROLS
from .judge import Program
from .targets import PROCESSOR


def main(descriptor: int, name: str, folder: Path) -> None:
    """Compile what the job says; each line is a program, why one could not be compiled, or why none can."""
    with os.fdopen(descriptor, "w", buffering=1) as channel:

        def say(**message: Any) -> None:
            channel.write(json.dumps(message) + "\n")

        try:
            work(name, folder, say)
        except ParityError as error:
            say(refused=str(error))
        else:
            say(done=True)


def work(name: str, folder: Path, say: Callable[..., None]) -> None:
    """Compile everything, one program after another.

    Raises:
        ParityError: Where the framework or its compiler is not there.
    """
    job = json.loads((folder / "job.json").read_text())
    adapter = load(name, job["targets"])
    dump = folder / "dump"
    if job["pack"]:
        _pack(adapter, job, folder, say)
        return
    for title, compile_ in _todo(adapter, name, job, dump):
        shutil.rmtree(dump, ignore_errors=True)
        dump.mkdir()
        try:
            programs = compile_()
        except ParityError:
            raise
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines()
            say(failed=title, why=f"{type(error).__name__}: {lines[0][:300] if lines else ''}")
            continue
        for program in programs:
            say(program=program.as_dict())
        if job["keep"]:
            kept = Path(job["keep"]) / name / title.replace("/", "_").replace(" ", "_")
            shutil.copytree(dump, kept, dirs_exist_ok=True)


def _pack(adapter: Any, job: Any, folder: Path, say: Callable[..., None]) -> None:
    """Compile every case for every device, and leave each program's bytes in the folder."""
    dump = folder / "dump"
    todo = [(case, mode, target) for target in job["targets"] for case in job["cases"] for mode in case["modes"]]
    for i, each in enumerate(todo):
        shutil.rmtree(dump, ignore_errors=True)
        dump.mkdir()
        described, code = adapter.pack_case(*each, dump)
        (folder / f"code-{i}").write_bytes(code)
        say(packed=described, file=f"code-{i}")


def load(name: str, wanted: Sequence[str]) -> Any:
    """The compiler's file for a framework; for the processor alone it needs nothing besides the framework.

    Raises:
        ParityError: Where a package that it needs is not there.
    """
    try:
        adapter = import_module(f".{name}", __package__)
        for module in adapter.NEEDS if set(wanted) - {PROCESSOR} else ():
            if importlib.util.find_spec(module) is None:
                raise ModuleNotFoundError(name=module)
    except ModuleNotFoundError as error:
        raise ParityError(
            f"{error.name}, which compiling {name} for a GPU needs, is not installed for {sys.executable}; "
            f"`parity envs FOLDER --lower --framework {name}` makes an environment that has it"
        ) from None
    return adapter


def _todo(adapter: Any, name: str, job: Any, dump: Path) -> Iterator[tuple[str, Callable[[], list[Program]]]]:
    """Every program's title and what compiles it."""
    for target in job["targets"]:
        for control in (each for each in CONTROLS if each.framework == name and job["controls"]):
            yield f"{control.title} {target}", partial(adapter.lower_control, control, target, dump)
        for case in job["cases"]:
            for mode in case["modes"]:
                title = f"{case['name']} {mode} {target}"
                yield title, partial(adapter.lower_case, case, mode, target, dump)
        if spec := job["own"]:
            yield f"{spec} {target}", partial(_lower_own, adapter, job, target, dump)


def _lower_own(adapter: Any, job: Any, target: str, dump: Path) -> list[Program]:
    return adapter.lower_own(*_make(job["own"], job["shapes"]), target, dump)


def _make(spec: str, shapes: list[list[int]]) -> tuple[Any, tuple[Any, ...]]:
    """Make what a user's factory gives, and its arguments: its own, or those of `shapes` for a model."""
    made = load_factory(spec)()
    if isinstance(made, tuple):
        if len(made) != 2 or not isinstance(made[1], tuple):
            raise ParityError(f"{spec} must give a model, or (function, (argument, ...))")
        return made
    if not shapes:
        raise ParityError(f"{spec} gives a model; --shape says what it is to be compiled for, as --shape 2,3,64,64")
    return made, tuple(map(tuple, shapes))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
