"""The weights within what training scripts save, without what wrappers of the model put into their names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ParityError
from .budget import Budget
from .pickled import Foreign
from .tree import flatten, label

# What scripts call the weights, the likeliest first.
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params"),
    *("generator", "teacher", "student", "checkpoint", "state", "state_dict_ema", "ema_state_dict", "model_ema"),
    *("ema_model", "ema", "params_ema"),
)
_DEPTH = 4
# What wrappers put in front of every name of a model, and what they put anywhere into it.
_HEADS = ("module", "_forward_module", "model", "backbone")
_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What the average of a model over its training has besides.
_COUNTS = ("n_averaged",)
# What optimizers call what they remember of each weight.
_MOMENTS = ("_moment1_0", "_moment_0", "_velocity_0", "_beta1_pow_acc_0", "_mean_square_0")
# What Flax's train states hold beside the collections of weights, and what these lie under.
_COLLECTIONS = ("params", "batch_stats")
_BESIDE = (
    *("step", "epoch", "opt_state", "tx", "rng", "rngs", "key", "dropout_rng", "loss_scale", "dynamic_scale"),
    *("ema_params", "ema", "config", "metrics", "metadata"),
)
_STATES = ("model", "state", "train_state", "target", "params", "opt.target")
_LISTED = 8


@dataclass(frozen=True)
class Found:
    """The arrays of a file by name, the names of what else it holds, and the names that the arrays lay under."""

    arrays: dict[str, np.ndarray]
    skipped: tuple[str, ...] = ()
    taken: tuple[str, ...] = field(default=())


def unwrap(
    tree: Any,
    budget: Budget,
    is_leaf: Callable[[Any], bool],
    leaf: Callable[[Any], Any],
    *,
    key: str | None = None,
    path: Path = Path("FILE"),
) -> Found:
    """The arrays of the tree, or of its branch that has a usual name, and what else it holds.

    Args:
        tree: Nested dictionaries.
        budget: It pays for the arrays.
        is_leaf: Whether a value stands for an array.
        leaf: It makes an array of each value that stands for one.
        key: The name of the branch to take; left out, the likeliest.
        path: The file, for the error that says how to open it.

    Raises:
        ParityError: where there is no dictionary, no such key, a whole model or an optimizer instead of weights, and
            where the arrays would be far larger than the file.
    """
    taken: list[str] = []
    skipped: list[str] = []

    def descend(name: str) -> None:
        nonlocal tree
        budget.tensors(len(tree))
        skipped.extend(label(".".join((*taken, str(other))), tree[other]) for other in tree if other != name)
        taken.append(name)
        tree = tree[name]

    if key is not None:
        for name in _steps(tree, key):
            descend(name)
    while True:
        _refuse_models(tree, taken, path)
        _refuse_optimizer(tree)
        branches = tree if isinstance(tree, dict) else {}
        name = next((name for name in _WRAPPERS if _holds(branches.get(name), is_leaf, budget)), "")
        if not name:
            break
        descend(name)
    if not isinstance(tree, dict):
        raise ParityError(f"must hold a dictionary of tensors, got {type(tree).__name__}")
    if not _holds(tree, is_leaf, budget):
        for name, value in tree.items():
            _refuse_models(value, [*taken, str(name)], path)
    _refuse_moments(tree, budget)
    optimizers = [name for name, value in tree.items() if _is_optimizer(value)]
    skipped += [label(".".join((*taken, str(name))), tree[name]) for name in optimizers]
    tree = {name: value for name, value in tree.items() if name not in optimizers} if optimizers else tree
    arrays, besides = flatten(tree, budget, leaf)
    return Found(arrays, (*skipped, *besides), tuple(taken))


def below(arrays: Mapping[str, np.ndarray], skipped: tuple[str, ...], key: str | None) -> Found:
    """The arrays whose names begin with the key, without it; those of others are skipped. For files without branches.

    Raises:
        ParityError: where no name begins with it.
    """
    if key is None:
        return Found(dict(arrays), skipped)
    head = f"{key}."
    found = {name.removeprefix(head): array for name, array in arrays.items() if name.startswith(head)}
    if not found:
        raise _no_key(key, list(dict.fromkeys(name.partition(".")[0] for name in arrays)))
    return Found(found, (*skipped, *(name for name in arrays if not name.startswith(head))), (key,))


def train_state(arrays: Mapping[str, np.ndarray], skipped: tuple[str, ...], key: str | None) -> Found:
    """The collections of weights of a Flax train state, without its step and its optimizer; see `below`."""
    found = below(arrays, skipped, key)
    while True:
        tops = {name.partition(".")[0] for name in found.arrays}
        inside = next((state for state in _STATES if _is_inside(state, tops, found.arrays)), None)
        if inside is not None:
            deeper = below(found.arrays, (), inside)
            depth = inside.count(".") + 1
            others = {".".join(name.split(".")[:depth]) for name in deeper.skipped}
            found = Found(deeper.arrays, (*found.skipped, *sorted(others)), (*found.taken, inside))
            continue
        beside = sorted(tops.difference(_COLLECTIONS))
        if "params" not in tops or not beside or not set(beside) <= set(_BESIDE):
            return found
        kept = {name: array for name, array in found.arrays.items() if name.partition(".")[0] in _COLLECTIONS}
        return Found(kept, (*found.skipped, *beside), found.taken)


def _is_inside(state: str, tops: set[str], arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the collections lie below that name, and nothing but what a train state holds beside it."""
    top, dot, _ = state.partition(".")
    head = f"{state}." if dot else f"{state}.params."
    return top in tops and tops - {top} <= set(_BESIDE) and any(name.startswith(head) for name in arrays)


def strip(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Each name without what wrappers put before or into it, and these words; a name that is no weight's is missing.

    What is before a name is a wrapper's where it is before every name: `module` of DataParallel, `model` and `backbone`
    of training frameworks; `_orig_mod` of torch.compile may stand anywhere.
    """
    names = list(names)
    if not _may_be_wrapped(names):
        return dict(zip(names, names, strict=True)), ()
    parts = {name: name.split(".") for name in names}
    words: dict[str, None] = {}
    for word in _INNER:
        if any(word in each for each in parts.values()):
            words[word] = None
            parts = {name: [part for part in each if part != word] for name, each in parts.items()}
    while True:
        counted = {name: each for name, each in parts.items() if name not in _COUNTS}
        first = {each[0] for each in counted.values()}
        if len(first) != 1 or (word := first.pop()) not in _HEADS or any(len(each) < 2 for each in counted.values()):
            break
        words[word] = None
        parts = {name: each[1:] for name, each in counted.items()}
    return {name: ".".join(each) for name, each in parts.items()}, tuple(words)


def _may_be_wrapped(names: Sequence[str]) -> bool:
    """Whether a wrapper's word is in the names, or before the first two that differ: quick to see in most files."""
    if any(word in name for word in _INNER for name in names):
        return True
    heads: set[str] = set()
    for name in names:
        if name not in _COUNTS:
            heads.add(name.partition(".")[0])
        if len(heads) > 1:
            return False
    return heads <= set(_HEADS)


def _holds(value: Any, is_leaf: Callable[[Any], bool], budget: Budget, depth: int = _DEPTH) -> bool:
    """Whether the value is a dictionary with an array somewhere in it."""
    if not isinstance(value, dict):
        return False
    for each in value.values():
        budget.step()
        if is_leaf(each) or (depth and _holds(each, is_leaf, budget, depth - 1)):
            return True
    return False


def _steps(tree: Any, key: str) -> list[str]:
    """The names on the way to a key, which may itself have dots."""
    steps: list[str] = []
    rest = key
    while rest:
        names = [str(name) for name in tree] if isinstance(tree, dict) and not getattr(tree, "is_model", False) else []
        name = next((name for name in names if rest == name or rest.startswith(f"{name}.")), None)
        if name is None or name not in tree:
            raise _no_key(key, names)
        steps.append(name)
        tree, rest = tree[name], rest[len(name) + 1 :]
    return steps


def _no_key(key: str, names: list[str]) -> ParityError:
    listed = ", ".join(names[:_LISTED]) or "no names"
    return ParityError(f"there is no {key!a}; there are {listed}{' and more' if len(names) > _LISTED else ''}")


def _refuse_models(value: Any, way: list[str], path: Path) -> None:
    """Raise ParityError for a whole model, whose class only its own code has, and say what its owner must run."""
    if not (isinstance(value, Foreign) and value.is_model):
        return
    name = path.name if path.name.replace(".", "").replace("-", "").replace("_", "").isalnum() else "FILE"
    inside = "".join(f"[{step!r}]" for step in way)
    raise ParityError(
        f"a whole model ({str(value.kind)[:50]}), which only its own code can open; where that is and you trust the "
        f"file: python -c \"import torch; torch.save(torch.load('{name}', weights_only=False){inside}.state_dict(), "
        f"'weights.pt')\""
    )


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, dict) and "param_groups" in value and "state" in value


def _refuse_optimizer(value: Any) -> None:
    """Raise ParityError for what an optimizer remembers, which is as large as the weights and none."""
    if _is_optimizer(value):
        raise ParityError("the state of a PyTorch optimizer, and no weights: give the file of the model's state_dict")


def _refuse_moments(tree: Mapping[Any, Any], budget: Budget) -> None:
    """Raise ParityError for the same of Paddle, a `.pdopt`."""
    budget.step(len(tree))
    if "LR_Scheduler" in tree or "master_weights" in tree or any(str(name).endswith(_MOMENTS) for name in tree):
        raise ParityError("the state of a Paddle optimizer (.pdopt), and no weights: give the .pdparams beside it")
