"""Programs that were compiled before and packed into a capsule: described, chosen for this machine, and executed.

They are code of whoever made the capsule. A worker loads them where `--run-compiled` asks for it, and nobody else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..arrays import Arrays
from ..catalogue.tasks import PACKED
from ..errors import ParityError
from ..frameworks.adapter import Adapter
from .code_cache import processor_digest

# The first part of the names of their bytes among a run's arrays.
CODE = "executables"


@dataclass(frozen=True)
class Executable:
    """A case's program in one mode for one kind of device, and the names and shapes of what it takes and gives.

    `made` is what a machine must have to run it: platform, compute capability or processor, and versions.
    """

    case: str
    mode: str
    target: str
    made: Mapping[str, str]
    arguments: Sequence[Mapping[str, Any]]
    results: Sequence[Mapping[str, Any]]
    code: bytes


class Programs:
    """The programs that a worker runs in place of a module's operations, for each work item and mode."""

    def __init__(
        self, adapter: Adapter, device: str, items: Iterable[Mapping[str, Any]], arrays: Mapping[str, Arrays]
    ) -> None:
        """Load every executable that is for the device.

        Raises:
            ParityError: Where one is not for this machine, or cannot be loaded; nothing was executed then.
        """
        self._adapter, self._flax = adapter, import_module("..frameworks.flax_program", __package__)
        self._programs, self._runs = {}, {}
        items = list(items)
        mine = self._flax.machine(device, processor_digest())
        for item in items:
            fitting = {each["mode"]: each["digest"] for each in item["executables"] if each["made"] == mine}
            modes = dict.fromkeys(task["mode"] for task in item["tasks"])
            if modes.keys() - fitting.keys():
                raise ParityError(_no_match(mine, items))
            for mode in modes:
                where = item["name"], mode
                model = adapter.build(item["module"], item["args"], item["kwargs"])
                n, c, h, w = arrays[item["case"]]["input"].shape
                program = self._flax.both_passes(model, (n, h, w, c), train=mode == "train")
                try:
                    run = self._flax.load(program, arrays[CODE][fitting[mode]].tobytes())
                except ParityError as error:
                    raise ParityError(f"the executable of {item['name']} {mode} {error}") from None
                self._programs[where], self._runs[*where, PACKED] = program, run

    def adapter(self, item: Mapping[str, Any], task: Mapping[str, Any], cotangent: np.ndarray) -> "Executed":
        """The framework with a program in place of a module's operations: the packed one, or the same compiled here."""
        program = self._programs[item["name"], task["mode"]]
        where = item["name"], task["mode"], task["execution"]
        if where not in self._runs:
            self._runs[where] = self._flax.compile_here(program)
        return Executed(self._adapter, self._flax, program, self._runs[where], cotangent)


@dataclass(frozen=True)
class Executed:
    """An adapter, as far as `parity.workers.work.run_task` asks it, that answers with a program of both passes."""

    framework: Adapter
    programs: Any
    program: Any
    run: Any
    cotangent: np.ndarray

    @property
    def NAME(self) -> str:
        return self.framework.NAME

    def build(self, module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.framework.build(module, args, kwargs)

    def forward(self, model: Any, x: np.ndarray, **_: Any) -> np.ndarray:
        return self.programs.run(self.program, self.run, model, x, self.cotangent.astype(x.dtype))[0]

    def gradients(self, model: Any, x: np.ndarray, cotangent: np.ndarray, **_: Any) -> Arrays:
        return self.programs.run(self.program, self.run, model, x, cotangent)[1]


def _no_match(mine: Mapping[str, str], items: Sequence[Mapping[str, Any]]) -> str:
    """The reason that none of the executables is for this machine."""
    packed = [each["made"] for item in items for each in item["executables"]]
    alike = [made for made in packed if _place(made) == _place(mine)]
    if alike:
        made = alike[0]
        differing = [name for name in sorted(made.keys() | mine.keys()) if made.get(name) != mine.get(name)]
        theirs, ours = (", ".join(f"{name} {each.get(name, 'none')}" for name in differing) for each in (made, mine))
        why = f"the executables for {_place(mine)} were compiled by {theirs}, here is {ours}"
    else:
        places = " or ".join(dict.fromkeys(map(_place, packed)))
        why = f"the executables are for {places}, this machine is {_place(mine)}"
    return f"{why}: none was run; leave --run-compiled out"


def _place(made: Mapping[str, str]) -> str:
    return f"{made['platform']} {made['capability']}"
