"""The outcome of one framework on one device: computed in a process here, on another machine, or read from a record."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..catalogue.tasks import Task, WorkItem
from ..protocol import by_task, join


@dataclass
class Outcome:
    """The arrays that a framework computed, why there are none where there are none, and on what it ran.

    `name` tells it from the others that it is compared with, `facts` are as `startup` has them, `errors` go by
    item and task, and one at ("", "") is that of every task.
    """

    framework: str
    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    computed: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """The device that it ran on, as it found it."""
        return self.facts.get("device", {}).get("id", "cpu")

    @property
    def allow_tf32(self) -> bool:
        """Whether its products may be in TF32."""
        return bool(self.facts.get("allow_tf32", False))

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the libraries that computed."""
        return self.facts.get("versions", {})

    def arrays(self, item: WorkItem, task: Task) -> dict[str, np.ndarray]:
        """The arrays that it computed for a task, by name."""
        return self._by_task.get(join(item.name, task.key), {})

    @cached_property
    def _by_task(self) -> dict[str, dict[str, np.ndarray]]:
        """`computed` in groups, which are asked for once all is there."""
        return by_task(self.computed)

    def error(self, item: WorkItem, task: Task) -> str:
        """The reason why it computed nothing for a task, or an empty string."""
        return self.errors.get((item.name, task.key), self.errors.get(("", ""), ""))

    def refusal(self, dtype: str) -> str:
        """The reason why its device leaves out every task in `dtype`, or an empty string; only float64 is left out."""
        return self.facts.get("precisions", {}).get(dtype, "") if dtype == "float64" else ""
