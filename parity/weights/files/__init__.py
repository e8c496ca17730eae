"""Weights in files: every framework's formats, read without trust and written whole or not at all."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np

from ...errors import ParityError, printable, shortened
from ...frameworks.layers import Layer, Weights
from ...frameworks.telling import ask, parse_layer
from .. import dialects
from ..dialects import networks
from . import atomic, limits, native, shards, targets, wrappers
from .budget import without_collector
from .contents import Advance, Arrays, Contents, Texts, outgoing, releasing
from .formats import FORMATS, FRAMEWORKS, Format, of_source, of_target
from .owned import check_checkpoint

__all__ = ["FORMATS", "FRAMEWORKS", "Checkpoint", "Format", "load", "read", "save", "write"]


MIN_PATH = 40  # characters of a path in one
MAX_MESSAGE = 280  # characters, so that the line has no more than 300 with what the command line puts before it
# What a file's metadata says where names only look as if a wrapper had put a word before them.
NAMES, KEPT = "names", "as they are"
_LISTED = 8
MANY = 20_000  # tensors from which a file is read before it gets its name


@dataclass(frozen=True)
class Checkpoint:
    """A file's weights.

    Attributes:
        weights: canonical arrays by canonical key, under this project's names where the dialect is known: what
            `set_weights` takes. Their `layers` say what each layer was taken for.
        framework: "torch", "paddle", "flax" or "linen", whose names and axes the file has.
        dialect: the system whose names the file has; None where they are nobody's known here and were kept.
        module: the module that the system has under these names.
        metadata: the file's own, and PyTorch's batch counters under "num_batches_tracked".
        skipped: names of what the file holds besides: an epoch, layers outside the prefix.
        wrappers: what the weights lay in: the branches of the file, and words before or in every name, with a dot.
    """

    weights: Weights
    framework: str
    dialect: str | None = None
    module: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A file whose framework is told: its arrays as it has them, views that are read when they are used.

    Attributes:
        keep: whether its names are those that were given to `save`, with no wrapper's words in them.
    """

    arrays: dict[str, np.ndarray]
    framework: str
    metadata: dict[str, str]
    skipped: tuple[str, ...]
    release: Callable[[], None]
    layers: dict[str, Layer] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    keep: bool = False

    def unwrapped(self, dialect: str | None) -> "Opened":
        """The arrays without what wrappers put into their names, such as DataParallel's `module`.

        Names stay as they are for the dialect "none", and where the rules of `dialect` have the wrapper's word too.
        """
        if self.keep or dialect == dialects.AS_IS:
            return self
        split = {key: native.split_collection(key, self.framework) for key in self.arrays}
        names, words = wrappers.strip([path for _, path in split.values()])
        heads = tuple(f"{word}." for word in words)
        if not words or (dialect is not None and is_system(dialect) and dialects.find(dialect).has_paths(heads)):
            return self
        arrays = {head + names[path]: self.arrays[key] for key, (head, path) in split.items() if path in names}
        if len(arrays) < len(names):
            return self  # two names would become one
        left = [key for key, (_, path) in split.items() if path not in names]
        before = "".join(heads)
        return replace(
            self,
            arrays=arrays,
            skipped=(*self.skipped, *left),
            layers={path.removeprefix(before): layer for path, layer in self.layers.items()},
            wrappers=(*self.wrappers, *heads),
            keep=True,
        )

    def below(self, prefix: str | None) -> "Opened":
        """The arrays below the path `prefix`, without it; the names of the others are skipped."""
        if not prefix:
            return self
        head = prefix.removesuffix(".") + "."
        split = {key: native.split_collection(key, self.framework) for key in self.arrays}
        inside = [key for key, (_, path) in split.items() if path.startswith(head)]
        if not inside and (unwrapped := self.unwrapped(None)) is not self:
            return unwrapped.below(prefix)
        if not inside:
            begin = dict.fromkeys(path.partition(".")[0] for _, path in split.values())
            raise ParityError(f"no key begins with {head!a}; they begin with {', '.join(list(begin)[:20])}")
        arrays = {split[key][0] + split[key][1].removeprefix(head): self.arrays[key] for key in inside}
        outside = self.arrays.keys() - set(inside)
        layers = {path.removeprefix(head): layer for path, layer in self.layers.items()}
        return replace(self, arrays=arrays, skipped=(*self.skipped, *sorted(outside)), layers=layers)

    def interpret(self, dialect: str | None, to: str = "torch") -> Checkpoint:
        """The canonical views, under our names where the dialect is known.

        Args:
            dialect: see `load`.
            to: the framework that they are meant for; a layer that may be two kinds is an error where that matters.
        """
        with without_collector():
            opened = self.unwrapped(dialect)
            return replace(opened._interpret(dialect, to), wrappers=opened.wrappers)

    def _interpret(self, dialect: str | None, to: str) -> Checkpoint:
        layers = {**(dialects.find(dialect).layers if dialect and is_system(dialect) else {}), **self.layers}
        weights, metadata = native.to_canonical(self.arrays, self.framework, self.metadata, layers)
        network = networks.translate(weights, dialect)
        if network is not None:
            counters = native.rename_counters(metadata, network.paths)
            found = Weights(network.weights)
            return Checkpoint(found, self.framework, dialects.RESNET, network.call, counters, self.skipped)
        match = dialects.recognise(weights, dialect, native.plain(self.framework))
        if match is None:
            ask(weights.layers, {native.plain(self.framework), native.plain(to)})
            return Checkpoint(weights, self.framework, None, None, metadata, self.skipped)
        if match.to not in ("torch", native.plain(to)) and any(rule.axes for rule, _, _ in match.arrays):
            raise ParityError(f"the rules of {match.dialect} are for {match.to}, not {to}; give --to {match.to}")
        weights = dialects.apply(match, weights)
        ask(weights.layers, {native.plain(self.framework), native.plain(to)})
        metadata = native.rename_counters(metadata, match.paths)
        return Checkpoint(weights, self.framework, match.dialect, match.module, metadata, self.skipped)


def is_system(dialect: str | None) -> bool:
    """Whether that is the name of a system, or of a file of rules."""
    return dialect not in (None, dialects.AS_IS, dialects.RESNET)


def load(
    path: str | PathLike[str],
    *,
    framework: str | None = None,
    dialect: str | None = None,
    prefix: str | None = None,
    layers: Mapping[str, str | Layer] | None = None,
    key: str | None = None,
) -> Checkpoint:
    """Read a checkpoint of any format; nothing that the file says is executed.

    Args:
        path: a .safetensors, .npz, .pt, .pth, .pdparams or .msgpack file or one of another name with such content, the
            *.index.json of a checkpoint in several files, an Orbax directory, or the directory of a published model.
        framework: whose names and axes it has, where the file does not tell.
        dialect: the name of a system of `parity.dialects`, a file of rules, or "none" to keep the names as they are;
            left out, it is told from the keys.
        prefix: take only the layers below this path, and without it.
        layers: what names and shapes do not tell of its layers, such as {"emb": "embedding"}; see `convert`.
        key: the branch that holds the weights, such as "state_dict_ema"; left out, the likeliest.

    Raises:
        ParityError: for everything that is not a good file of weights, in one line that says what is wrong.
    """
    opened = open_file(Path(path), framework=framework, layers=layers, key=key)
    with about(path):
        checkpoint = opened.below(prefix).interpret(dialect)
    read_on = releasing(opened.release)
    del opened
    weights = Weights({}, checkpoint.weights.layers)
    for key in list(checkpoint.weights):
        view = checkpoint.weights.pop(key)
        # What was decompressed is nobody else's, and need not be copied.
        weights[key] = view if view.flags.writeable and view.flags.c_contiguous else np.array(view, order="C")
        read_on(view.nbytes)
    return replace(checkpoint, weights=weights)


def save(
    weights: Mapping[str, np.ndarray],
    path: str | PathLike[str],
    *,
    framework: str | None = None,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    shard: str | None = None,
) -> None:
    """Write canonical weights as `framework` names and orders them, in the format that the suffix says.

    Args:
        weights: canonical arrays by canonical key, as `get_weights` gives them. What that knows of the layers goes
            into the file's metadata, where names and shapes do not tell it.
        path: the file, or for an Orbax checkpoint the directory; it appears whole or not at all.
        framework: "torch", "paddle", "flax" or "linen"; left out, the format's own, torch where it has several.
        metadata: text by text, kept in the file where the framework's loader does not see it.
        force: replace what is there.
        shard: the most that a file may have, such as "2GB"; `path` is then a directory of .safetensors files and index.

    Raises:
        ParityError: where the target exists, the format cannot hold the framework's names or a dtype, or the system
            refuses.
    """
    target = Path(path)
    framework = target_framework(target, framework, shard)
    given = Weights({key: np.asarray(array) for key, array in weights.items()}, getattr(weights, "layers", {}))
    arrays, rest = native.from_canonical(given, framework, metadata or {})
    write(target, outgoing(arrays), framework, rest, force=force, shard=shard)


def read(path: Path, key: str | None = None) -> Contents:
    """A file as it is, or what it has under a key; only ParityError leaves this function, whatever the file holds."""
    with about(path), without_collector():
        try:
            found, format_ = of_source(path)
            return format_.module.read(found, key=key)
        except ParityError:
            raise
        except Exception as error:
            # A reader looks at bytes that anyone can have made; what it did not foresee is the file's fault too.
            raise ParityError(f"is damaged: {type(error).__name__}: {error}") from error


def write(
    path: Path,
    arrays: Arrays,
    framework: str,
    metadata: Texts,
    *,
    force: bool = False,
    advance: Advance = lambda _: None,
    shard: str | None = None,
) -> None:
    """Write native arrays, whole or not at all."""
    limits.check_metadata(metadata)
    paths = [native.split_collection(key, framework)[1] for key in arrays]
    if wrappers.strip(paths)[1]:
        # Who reads them must not take a part of these names for a wrapper's.
        metadata = {**metadata, NAMES: KEPT}
    target = of_target(path, shard)
    if shard is not None:
        with atomic.write_directory(path, force=force, check_own=shards.check_own) as directory:
            shards.write(directory, arrays, metadata, framework, shards.parse_size(shard), advance)
        return
    limits.check_count(len(arrays))
    if target.directory:
        with atomic.write_directory(path, force=force, check_own=check_checkpoint) as directory:
            target.module.write(directory, arrays, metadata)
    else:
        with atomic.write_file(path, force=force) as file:
            target.module.write(file, arrays, metadata, framework, advance)
            # What a safetensors costs its reader follows from its size, whatever the tensors are.
            if len(arrays) > MANY and target.name != "safetensors":
                _check_readable(file, target)


def _check_readable(file: IO[bytes], target: Format) -> None:
    """Raise ParityError where a file of very many small tensors takes more to read than a file of its size may.

    It is looked at before it gets its name, by the number of its descriptor; what goes to a pipe has none.
    """
    file.flush()
    by_number = Path(f"/proc/self/fd/{file.fileno()}") if isinstance(file, io.BufferedRandom) else None
    if by_number is None or not by_number.exists():
        return
    try:
        with without_collector():
            target.module.read(by_number)
    except ParityError as error:
        raise ParityError(
            f"so many tensors are too small for a {target.suffixes[0]} to be read again; write a .safetensors ({error})"
        ) from error


def check_target(path: Path, *, force: bool, shard: str | None = None) -> None:
    """Raise ParityError where no checkpoint could be written at `path`, before any work is done for it."""
    target = of_target(path, shard)
    if shard is not None:
        shards.parse_size(shard)
    check_own = shards.check_own if shard is not None else check_checkpoint if target.directory else None
    targets.find(path, force=force, check_own=check_own)


def open_file(
    path: Path,
    *,
    framework: str | None = None,
    layers: Mapping[str, str | Layer] | None = None,
    key: str | None = None,
) -> Opened:
    """The arrays of a file, whose they are, and what is told of the layers, here and in the file's metadata."""
    contents = read(path, key)
    given = {name: parse_layer(layer) for name, layer in (layers or {}).items()}
    with about(path):
        if not contents.arrays:
            listed = ", ".join(contents.skipped[:_LISTED])
            more = f" and {len(contents.skipped) - _LISTED} more" if len(contents.skipped) > _LISTED else ""
            raise ParityError(f"holds no weights{f', only {listed}{more}' if listed else ''}")
        told = native.tell_framework(contents.arrays, contents.framework, framework)
        found = {**native.parse_layers(contents.metadata), **given}
    metadata = {text: value for text, value in contents.metadata.items() if text != NAMES or value != KEPT}
    keep = len(metadata) < len(contents.metadata)
    opened = Opened(contents.arrays, told, metadata, contents.skipped, contents.release, found)
    return replace(opened, wrappers=contents.taken, keep=keep)


@contextmanager
def about(path: str | PathLike[str]) -> Iterator[None]:
    """Put the path before the message of an error, and the message on one line that commands no terminal."""
    try:
        yield
    except ParityError as error:
        message = printable(str(error))
        # Who gave the path knows it: rather it loses its middle than the message does.
        room = min(max(MAX_MESSAGE - len(f": {message}"), MIN_PATH), MAX_MESSAGE // 2)
        where = shortened(printable(str(path)), room)
        raise ParityError(shortened(f"{where}: {message}", MAX_MESSAGE)) from error


def target_framework(path: Path, framework: str | None, shard: str | None = None) -> str:
    """The framework whose names a file to be written gets: `framework`, or the format's own."""
    target = of_target(path, shard)
    if framework is None:
        return target.frameworks[0]
    if framework not in FRAMEWORKS:
        raise ParityError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {framework!a}")
    if framework not in target.frameworks:
        raise ParityError(f"a {target.suffixes[0]} file holds {' or '.join(target.frameworks)} weights: {path}")
    return framework
