"""Train an SE-ResNet-18 on handwritten digits in one framework, and watch it arrive unchanged in the others.

    python examples/digits.py --framework paddle

trains on scikit-learn's 1797 digits, moves the weights to the other frameworks and to ONNX, runs the test images
everywhere, and writes two pictures: what the attention of each framework looks like, and how the same training goes in
each from the same seed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

from parity.catalogue.cases import Case
from parity.catalogue.inputs import draw_weights
from parity.frameworks import FRAMEWORKS
from parity.reference import modules as reference
from parity.verdict.expect import expect_forward
from parity.verdict.judge import NOISE_UNITS, judge

HERE = Path(__file__).parent
DEPTH = 18
OPTIONS = {"num_classes": 10, "in_channels": 1, "width": 16, "small_stem": True, "reduction": 4}
MOMENTUM = 0.875
RATE = 0.0625
EPOCHS = 8
BATCH = 32
TRAINED_ON = 1437
SHOWN = 6
# How many of the test images the reference computes, sixteen times over, to know the rounding noise of their logits.
JUDGED = 24
SMOOTHED = 11

Arrays = dict[str, np.ndarray]


def main(
    framework: Annotated[str, typer.Option(help="Where to train: torch, paddle or flax.")] = "torch",
    attention: Annotated[str, typer.Option(help="se or cbam.")] = "se",
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights and the order of the images.")] = 0,
    curves: Annotated[bool, typer.Option(help="Train in the other frameworks too and draw the losses.")] = True,
    folder: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("digits"),
) -> None:
    """Train, port and compare."""
    if framework not in FRAMEWORKS:
        raise typer.BadParameter(f"--framework must be one of {', '.join(FRAMEWORKS)}, got {framework!r}")
    if attention not in ("se", "cbam"):
        raise typer.BadParameter(f"--attention must be se or cbam, got {attention!r}")
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    options = {**OPTIONS, "attention": attention}
    arrays = data(seed)
    case = Case("SEResNet", "digits", (DEPTH,), (JUDGED, 1, 8, 8), "the trained network", options)
    first = draw_weights(case, reference.shapes(reference.SEResNet(DEPTH, **options)), seed)
    first = {key: sane(key, array) for key, array in first.items()}

    started = time.perf_counter()
    runs = {framework: train(framework, first, arrays, options)}
    console.print(f"trained in {framework} in {time.perf_counter() - started:.0f} s")
    weights = {key.removeprefix("weights."): array for key, array in runs[framework].items() if "weights." in key}
    found = {name: run_in(name, "test", weights, arrays, options) for name in (*FRAMEWORKS, "onnx")}
    rows = compare(found, framework, case, weights, arrays)
    console.print(table(rows, framework))
    draw_attention(found, arrays, attention, folder / "attention.png")
    if curves:
        runs |= {name: train(name, first, arrays, options) for name in FRAMEWORKS if name != framework}
        draw_losses({name: runs[name]["losses"] for name in FRAMEWORKS}, framework, folder / "losses.png")
    console.print(f"pictures: {', '.join(str(path) for path in sorted(folder.glob('*.png')))}")
    raise typer.Exit(0 if all(row.same for row in rows) else 1)


def data(seed: int) -> Arrays:
    """The digits: batches in a seeded order for training, the rest for the test, learning rates falling to nothing."""
    digits = load_digits()
    images = ((digits.images[:, None] - 8) / 8).astype(np.float32)  # n 1 8 8
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    train, test = order[:TRAINED_ON], order[TRAINED_ON:]
    steps = TRAINED_ON // BATCH
    chosen = np.concatenate([rng.permutation(train)[: steps * BATCH].reshape(steps, BATCH) for _ in range(EPOCHS)])
    rates = RATE * (1 + np.cos(np.pi * np.arange(len(chosen)) / len(chosen))) / 2
    return {
        "batches": images[chosen],
        "labels": digits.target[chosen],
        "rates": rates.astype(np.float32),
        "test": images[test],
        "answers": digits.target[test],
        "shown": images[test][:SHOWN],
    }


def sane(key: str, array: np.ndarray) -> np.ndarray:
    """The usual start: kernels as drawn, norms the identity, biases zero."""
    if array.ndim > 1:
        return array
    return np.full_like(array, key.rpartition(".")[2] in ("weight", "running_var"))


def train(framework: str, first: Arrays, arrays: Arrays, options: dict[str, Any]) -> Arrays:
    """Train in a framework's own process: its losses and weights."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"training in {framework}", total=len(arrays["batches"]))

        def advance(loss: float) -> None:
            progress.update(task, advance=1, description=f"training in {framework}, loss {loss:.3f}")

        return run_in(framework, "train", first, arrays, options, advance)


def run_in(
    framework: str,
    task: str,
    weights: Arrays,
    arrays: Arrays,
    options: dict[str, Any],
    advance: Callable[[float], None] = lambda loss: None,
) -> Arrays:
    """Do a job in a process of the framework's own, which gets arrays and gives arrays."""
    with tempfile.TemporaryDirectory(prefix="digits-") as name:
        folder = Path(name)
        save_file(weights, folder / "weights.safetensors")
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, folder / "arrays.safetensors")
        job = {"task": task, "depth": DEPTH, "options": options, "momentum": MOMENTUM}
        (folder / "job.json").write_text(json.dumps(job))
        # Maps of 8 x 8 are so small that a second thread costs more than it brings.
        switches = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        path = os.pathsep.join((str(HERE.parent), os.environ.get("PYTHONPATH", "")))
        environment = {**os.environ, **switches, "PYTHONPATH": path}
        command = [sys.executable, "-W", "ignore", str(HERE / "digits_worker.py"), framework, str(folder)]
        with (
            (folder / "log").open("w+") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                advance(json.loads(line)["loss"])
            if process.wait():
                log.seek(0)
                raise RuntimeError(f"the {framework} process ended with code {process.returncode}:\n{log.read()}")
        return load_file(folder / f"{framework}.safetensors")


@dataclass(frozen=True)
class Row:
    """The result of a framework on the test images with the trained weights."""

    framework: str
    accuracy: float
    answers: str
    difference: float
    units: float
    same: bool


def compare(found: dict[str, Arrays], source: str, case: Case, weights: Arrays, arrays: Arrays) -> list[Row]:
    """Each framework beside the one that trained, and beside the reference and its rounding noise."""
    truth = expect_forward(case, weights, arrays["test"][:JUDGED], "float32", train=False)
    trained = found[source]["logits"]
    rows = []
    for name, arrays_of in found.items():
        logits = arrays_of["logits"]
        answers = logits.argmax(1) == trained.argmax(1)
        expected = {"output": truth.arrays["output"]}
        verdict = judge({"output": logits[:JUDGED]}, expected, "float32", truth.noise)
        rows.append(
            Row(
                name,
                float(np.mean(logits.argmax(1) == arrays["answers"])),
                f"{answers.sum()} of {len(answers)}",
                float(np.abs(logits - trained).max()),
                verdict.error,
                verdict.passed and bool(answers.all()),
            )
        )
    return rows


def table(rows: list[Row], source: str) -> Table:
    """The rows to look at."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in (
        "framework",
        "accuracy",
        "same answers",
        f"largest difference from {source}",
        NOISE_UNITS,
        "verdict",
    ):
        shown.add_column(column)
    for row in rows:
        shown.add_row(
            row.framework,
            f"{row.accuracy:.2%}",
            row.answers,
            f"{row.difference:.1e}",
            f"{row.units:.2g}",
            "same" if row.same else "DIFFERS",
        )
    return shown


def draw_attention(found: dict[str, Arrays], arrays: Arrays, attention: str, path: Path) -> None:
    """A row for each framework: its attention over a few digits."""
    figure = Figure(figsize=(1.5 * SHOWN, 6.4), layout="constrained")
    axes = figure.subplots(4, SHOWN)
    scales = {name: found[name]["attention"] for name in FRAMEWORKS}
    span = {"vmin": min(map(np.min, scales.values())), "vmax": max(map(np.max, scales.values()))}
    for axis, image in zip(axes[0], arrays["shown"], strict=True):
        axis.imshow(image[0], cmap="gray_r")
    for row, name in zip(axes[1:], FRAMEWORKS, strict=True):
        for axis, scale in zip(row, scales[name], strict=True):
            side = int(np.sqrt(scale.size))
            drawn = axis.imshow(scale.reshape(side, side), cmap="viridis", **span)
    for row, name in zip(axes, ("digit", *FRAMEWORKS), strict=True):
        row[0].set_ylabel(name, fontsize=12)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    what = "SE: one gate for each of 16 channels" if attention == "se" else "CBAM: one factor for each place"
    figure.suptitle(f"{what}, in layer1.1, from the same weights")
    figure.colorbar(drawn, ax=axes, shrink=0.6)
    figure.savefig(path, dpi=110)


def draw_losses(losses: dict[str, np.ndarray], source: str, path: Path) -> None:
    """The losses of the same training in each framework, and how their difference grows from a rounding error."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    window = np.ones(SMOOTHED) / SMOOTHED
    for (name, values), style in zip(losses.items(), ("-", "--", ":"), strict=True):
        left.semilogy(np.convolve(values, window, "valid"), style, label=name)
        if name != source:
            right.semilogy(np.abs(values - losses[source]) + np.finfo(np.float32).tiny, style, label=name)
    left.set_title(f"training loss, mean of {SMOOTHED} steps")
    right.set_title(f"difference from {source}'s loss")
    right.set_ylim(1e-8, 10)
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.legend()
    figure.suptitle("The same training from the same seed")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
