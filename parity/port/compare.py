"""The walk of `parity port`: build, give weights, run both, judge, and find the layer and the cause."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ParityError
from ..montecarlo.estimate import Estimate, select
from ..weights import dialects
from ..weights.files import load as load_checkpoint
from ..weights.files.atomic import write_bytes
from . import accuse, by_rules, decide, groups, layers, load, precision, remote, training, verdict, weights
from . import inputs as given_inputs
from .bundles import Bundle
from .report import Check, Difference, Layer, Model, Report, Weights
from .side import Arrays

MODES = ("eval", "train", "training")
USUAL_MODES = ("eval", "train")
DTYPES = ("float64", "float32", "bfloat16", "float16")
USUAL = ("float64", "float32")

Advance = Callable[[str], None]


@dataclass
class Walk:
    """The knowledge so far."""

    original: remote.Asked
    port: remote.Asked
    inputs: tuple[list[np.ndarray], list[np.ndarray]]
    moved: int
    pairing: weights.Pairing = field(default_factory=weights.Pairing)
    pairs: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    layers: dict[str, tuple[Layer, ...]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noise: tuple[str, dict[str, Estimate]] = ("", {})
    detail: bool = False
    advance: Advance = lambda _: None


def port(
    original: Any,
    port: Any,
    inputs: Sequence[np.ndarray],
    *,
    checkpoint: Path | None = None,
    rules: str | None = None,
    axes: Mapping[int, str] | None = None,
    pythons: Mapping[str, str] | None = None,
    modes: Sequence[str] = USUAL_MODES,
    dtypes: Sequence[str] = USUAL,
    compiled: bool = False,
    redraw: bool = True,
    write_rules: Path | None = None,
    own_weights: bool = False,
    detail: bool = False,
    advance: Advance = lambda _: None,
) -> Report:
    """Compare a port with its original.

    Args:
        original: `FILE.py:FACTORY` or `package.module:factory`, a function without arguments that gives a model: it
            runs in a process of its own. Or a model or a function, which runs here; the model is copied.
        port: The same of the port.
        inputs: The models' arguments in the original's order of axes; maps are turned for the port.
        checkpoint: Weights for the original, a file of any format; without it, its own.
        rules: A file of rules, or a dialect, from the original's names to the port's.
        axes: For an input's number how the port's axes follow from the original's: `ncl->nlc`.
        pythons: Interpreters by "original" and "port".
        modes: Of "eval", "train" and "training", which makes ten steps.
        dtypes: Of "float64", "float32", "bfloat16" and "float16"; what is not float64 is judged in noise units.
        compiled: Whether the port is judged compiled as a whole too, in each precision but float64.
        redraw: Whether weights that hold one value throughout get drawn ones, because they would hide mistakes.
        write_rules: Where the pairs are written as rules.
        own_weights: Whether both keep the weights that they come with, bit for bit, as after folding or fusing, where
            none pair: the function alone is compared, and no gradients of weights.
        detail: Whether each layer is measured in noise units and pictured, in every precision, also where all is the
            same; it takes more passes.
        advance: Called with what is done next, in words.

    Raises:
        ParityError: where a side cannot be built or run, weights do not pair, or the original is random or not finite.
    """
    sources = {"original": original, "port": port}
    for source in sources.values():
        if isinstance(source, str):
            load.check_form(source)
    if rules is not None:
        dialects.find(rules)
    if checkpoint is not None and not checkpoint.exists():
        raise ParityError(f"{checkpoint} is not there; --weights takes a checkpoint of any format")
    arrays = [given_inputs.check(np.asarray(array), f"input {i}") for i, array in enumerate(inputs)]
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        advance("building both models")
        with remote.both(sources, pythons or {}, Path(name)) as (left, right):
            channels = [side.facts["channels_last"] for side in (left, right)]
            moved = int(channels[1]) - int(channels[0])
            turned = given_inputs.for_port(arrays, axes or {}, moved)
            walk = Walk(left, right, (arrays, turned), moved, detail=detail, advance=advance)
            if "paddle" in (left.facts["framework"], right.facts["framework"]):
                left.ask("round_settings")
                right.ask("round_settings")
            precision.refuse_half(walk, tuple(dtypes))
            given = checkpoint, rules, redraw, write_rules
            found = _keep_weights(walk) if own_weights else _give_weights(walk, *given)
            for mode in (mode for mode in modes if mode != "training"):
                _compare_mode(walk, mode, dtypes, ("eager", "compiled") if compiled else ("eager",))
            if "training" in modes:
                _compare_training(walk)
            return _report(walk, sources, found)


def _give_weights(
    walk: Walk, checkpoint: Path | None, rules: str | None, redraw: bool, write_rules: Path | None
) -> Weights:
    """Pair the weights and set them in both."""
    walk.advance("pairing weights")
    original, port = walk.original.ask("get_weights")[0], walk.port.ask("get_weights")[0]
    if checkpoint is not None:
        original = _from_checkpoint(checkpoint, original)
    original = {key: _float32(array) for key, array in original.items()}
    original, drawn = weights.redraw(original) if redraw else (original, ())
    if rules is not None:
        said = by_rules.bundles_of(rules, original, walk.port.facts["natives"])
        port = _bundle(walk, said)
        pairing = by_rules.pair(original, port, rules, said)
        decided = decide.by_running(walk, pairing, original, port, _loose(walk, pairing, port))
    else:
        pairing = weights.pair(original, port, None)
        if pairing.only_port:
            laid_out = frozenset(key for side in (walk.original, walk.port) for key in side.facts["laid_out"])
            pairing = weights.pair(original, port, _calls(walk), laid_out)
        decided = decide.by_running(walk, pairing, original, port, _loose(walk, pairing, port))
        port = _bundle(walk, pairing.bundles)
    weights.refuse_unpaired(pairing, original, port)
    own = weights.brings_own(pairing, port)
    wrong = {}
    arrays = {key: pairing.arrays.get(key, port[key]) for key in port}
    if own:
        kept = {key for key in pairing.keys if pairing.keys[key] not in drawn}
        wrong = {
            key: weights.what_was_done(pairing.arrays[key], port[key])
            for key in kept
            if not np.array_equal(pairing.arrays[key], port[key])
        }
        arrays |= {key: port[key] for key in kept}
    walk.original.ask("set_weights", weights=original)
    walk.port.ask("set_weights", weights=arrays)
    walk.pairing = pairing
    walk.pairs = layers.pair_layers(walk.original.facts, walk.port.facts, pairing)
    if write_rules is not None:
        written = by_rules.written(pairing, walk.original.facts["framework"], walk.port.facts["class"])
        write_bytes(write_rules, written.encode(), force=True)
    why = weights.shortage(pairing, wrong)
    walk.checks.append(Check("eval", "any", "structure", float(bool(why)), 0.0, "faults", why))
    pairs = {key: (source, pairing.how[key]) for key, source in pairing.keys.items()}
    only = tuple(pairing.only_original), tuple(pairing.only_port)
    return Weights(pairs, *only, drawn, own, wrong, decided)


def _bundle(walk: Walk, bundles: Sequence[Bundle]) -> Arrays:
    """Have the port's arrays go by the original's forms; what they are then."""
    if not bundles:
        return walk.port.ask("get_weights")[0]
    found, facts = walk.port.ask("bundle", given=[bundle.to_dict() for bundle in bundles])
    walk.port.facts |= facts
    return found


def _keep_weights(walk: Walk) -> Weights:
    """Leave both models' weights alone; names pair the layers."""
    original, port = walk.original.ask("get_weights")[0], walk.port.ask("get_weights")[0]
    walk.pairs = layers.pair_layers(walk.original.facts, walk.port.facts, weights.pair(original, port, None))
    return Weights({}, own=True)


def _loose(walk: Walk, pairing: weights.Pairing, port: Arrays) -> frozenset[str]:
    """The port's square matrices that no layer of a library holds, between frameworks: either way may be meant."""
    if walk.original.facts["framework"] == walk.port.facts["framework"] or weights.brings_own(pairing, port):
        return frozenset()
    known = {*walk.port.facts["laid_out"]}
    return frozenset(
        key
        for key, source in pairing.keys.items()
        if key not in known
        and source not in walk.original.facts["laid_out"]
        and port[key].ndim == 2
        and len({*port[key].shape}) == 1 < port[key].size
    )


def _from_checkpoint(path: Path, own: Arrays) -> Arrays:
    found = load_checkpoint(path, dialect="none").weights
    missing = [key for key in own if key not in found]
    wrong = [key for key in own if key in found and found[key].shape != own[key].shape]
    if missing or wrong:
        raise ParityError(f"{path} does not fit the original: missing {', '.join(missing[:8]) or 'nothing'}; "
                          f"of another shape {', '.join(wrong[:8]) or 'nothing'}")  # fmt: skip
    return {key: found[key] for key in own}


def _float32(array: np.ndarray) -> np.ndarray:
    """Float values that float32 holds, so that every precision computes with the same weights."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _calls(walk: Walk) -> tuple[list[str], list[str]]:
    """The paths of both sides' layers, as the weights' keys say them, in the order in which they are called."""
    found = []
    for side, arrays in ((walk.original, walk.inputs[0]), (walk.port, walk.inputs[1])):
        _, info = side.ask("run", inputs=arrays, dtype="float32", train=False, layers=True, gradients=False)
        aliases = {layer["path"]: layer["alias"] for layer in side.facts["layers"]}
        found.append(list(dict.fromkeys(aliases[call.rpartition("|")[0]] for call in info["calls"])))
    return found[0], found[1]


def _compare_mode(walk: Walk, mode: str, dtypes: Sequence[str], executions: tuple[str, ...]) -> None:
    """Both passes of a mode in float64, the layers where they differ, and the further precisions."""
    train = mode == "train"
    walk.advance(f"original in {mode} mode, float64")
    options: dict[str, Any] = {"dtype": "float64", "train": train, "layers": True, "gradients": True}
    theirs, info = walk.original.ask("run", inputs=walk.inputs[0], **options)
    if not _is_settled(walk, theirs, info, mode):
        return
    walk.advance(f"port in {mode} mode, float64")
    ours, port_info = walk.port.ask(
        "run", inputs=walk.inputs[1], given=groups.roots(theirs), moved=walk.moved, **options
    )
    port_info["aliases"] = {layer["alias"]: layer["path"] for layer in walk.port.facts["layers"]}
    comparison = layers.line_up(theirs, ours, (info, port_info), walk.pairs, walk.moved)
    _note_kinds(walk, theirs, ours)
    noise: dict[str, Estimate] = {}
    checks = groups.judge(walk, mode, "float64", comparison, theirs, ours, noise)
    search: Callable[[], accuse.Fed] = partial(accuse.feed, walk, mode, comparison)
    passed = all(check.passed for check in checks)
    if walk.detail or not passed:
        noise, search = _noise_and_search(walk, mode, comparison, theirs, search, begin=not passed)
        checks = groups.judge(walk, mode, "float64", comparison, theirs, ours, noise)
    walk.checks += checks
    passed = all(check.passed for check in checks)
    accuse.localise(walk, mode, comparison, theirs, ours, port_info, select(noise), None if passed else search)
    if not passed:
        return
    for dtype in dtypes:
        if dtype != "float64":
            precision.judge(walk, mode, dtype, comparison, theirs, executions)


def _noise_and_search(
    walk: Walk,
    mode: str,
    comparison: layers.Comparison,
    theirs: Arrays,
    search: Callable[[], accuse.Fed],
    *,
    begin: bool,
) -> tuple[dict[str, Estimate], Callable[[], accuse.Fed]]:
    """float64's own noise, and `search`: done already, where another process than the port's measures the noise."""
    in_processes = isinstance(walk.original, remote.Remote) and isinstance(walk.port, remote.Remote)
    beside = in_processes and precision.measured_side(walk) is walk.original
    if not (begin and beside and accuse.can_feed(comparison, theirs)):
        return precision.own_noise(walk, mode == "train", comparison, theirs), search
    searched = remote.meanwhile(search)
    noise = precision.own_noise(walk, mode == "train", comparison, theirs)
    searched.exception()  # whatever comes of it, the port answers one question at a time
    return noise, searched.result


def _note_kinds(walk: Walk, theirs: Arrays, ours: Arrays) -> None:
    """Say which arrays one side trains and the other only holds."""
    for key, source in walk.pairing.keys.items():
        trained = f"parameter|{source}" in theirs, f"parameter|{key}" in ours
        if trained[0] != trained[1]:
            where = "original" if trained[0] else "port"
            walk.notes.append(f"{key} is trained in the {where} alone: its gradient is not compared")


def _compare_training(walk: Walk) -> None:
    """Ten steps of both, where a single pass is the same but for buffers, which move no weight."""
    if any(check.what != "buffers" and not check.passed for check in walk.checks):
        walk.notes.append("training is not compared: a single pass differs already")
        return
    options: dict[str, Any] = {"dtype": "float64", "train": True, "layers": False, "gradients": True}
    theirs, info = walk.original.ask("run", inputs=walk.inputs[0], **options)
    if not _is_settled(walk, theirs, info, "train"):
        return
    ours, port_info = walk.port.ask(
        "run", inputs=walk.inputs[1], given=groups.roots(theirs), moved=walk.moved, **options
    )
    training.judge(walk, layers.line_up(theirs, ours, (info, port_info), walk.pairs, walk.moved))


def _is_settled(walk: Walk, recording: Arrays, info: Mapping[str, Any], mode: str) -> bool:
    """Whether the original gives finite numbers, the same twice; else a ParityError, or in train mode a note."""
    order = [f"value|{name}" for name in info["order"]]
    if bad := verdict.first_nonfinite(recording, order):
        count = int(np.count_nonzero(~np.isfinite(recording[bad])))
        raise ParityError(
            f"the original gives {count} NaN or infinite values in {mode} mode, first in {verdict.plain(bad)}:"
            " give other inputs or weights"
        )
    again, _ = walk.original.ask(
        "run", inputs=walk.inputs[0], dtype="float64", train=mode == "train", layers=True, gradients=False
    )
    for name in order:
        if name in recording and not np.array_equal(recording[name], again[name]):
            where = verdict.plain(name)
            if mode == "train":
                walk.notes.append(f"train mode is not compared: the original is random in it, first in {where}")
                return False
            raise ParityError(f"the original is random in eval mode, first in {where}: it differs from itself")
    return True


def _report(walk: Walk, sources: Mapping[str, str], found: Weights) -> Report:
    models = []
    for side in (walk.original, walk.port):
        facts = side.facts
        source = sources[side.name]
        models.append(
            Model(
                source if isinstance(source, str) else facts["class"],
                facts["framework"],
                facts["class"],
                facts["versions"],
                facts["parameters"],
            )
        )
    shapes = tuple(f"{array.dtype} {array.shape}" for array in walk.inputs[0])
    return Report(
        models[0],
        models[1],
        shapes,
        found,
        tuple(walk.checks),
        walk.layers,
        tuple(walk.differences),
        tuple(dict.fromkeys(walk.notes)),
    )
