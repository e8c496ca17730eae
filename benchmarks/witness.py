"""The noise of every case that the reference predicts, measured on PyTorch's and JAX's own operations.

    python benchmarks/witness.py --json witness.json

A row for each case, mode and engine: the least, the middle and the most factor of its arrays, which are the gradients
of the input and of every parameter.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from parity.catalogue.cases import CASES, Case
from parity.catalogue.inputs import default_image, read_image
from parity.frameworks import flax as on_flax
from parity.frameworks import torch as on_torch
from parity.frameworks.layout import convert, relayout
from parity.montecarlo.estimate import measure
from parity.montecarlo.jax_engine import noisy
from parity.montecarlo.torch_engine import MonteCarlo
from parity.runs.run import draw
from parity.verdict.expect import expect
from parity.weights.models import set_weights

FLOAT32 = 2.0**-24
DRAWS = 6
Gradients = Callable[..., Mapping[str, np.ndarray]]
IMAGE = read_image(default_image())


def given(case: Case, framework: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """The case in float64: the model with its weights, the input and the cotangent."""
    drawn = draw(case, IMAGE, 0)
    model = framework.build(case.module, case.args, case.kwargs)
    set_weights(model, {key: array.astype(np.float64) for key, array in drawn.weights.items()})
    return drawn, model, drawn.x.astype(np.float64), drawn.cotangent.astype(np.float64)


def of_torch(case: Case, *, train: bool) -> Gradients:
    """The gradients of the case in PyTorch, as they are or with the errors that a seed draws."""

    def gradients(seed: int | None = None) -> Mapping[str, np.ndarray]:
        _, model, x, cotangent = given(case, on_torch)
        mode: Any = torch.enable_grad() if seed is None else MonteCarlo(FLOAT32, seed)
        with mode:
            found = on_torch.gradients(model, x, cotangent, train=train)
        assert seed is None or not mode.unknown
        return found

    return gradients


def of_jax(case: Case, *, train: bool) -> Gradients:
    """The gradients of the case in JAX, likewise."""
    _, model, x, cotangent = given(case, on_flax)
    model.train() if train else model.eval()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def pull(parameters: Any, x: Any, cotangent: Any) -> Any:
        return jax.vjp(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), parameters, x)[1](cotangent)

    function = noisy(pull, FLOAT32)
    arrays = [jnp.asarray(relayout(a, "nchw", "nhwc")) for a in (x, cotangent)]

    def gradients(seed: int | None = None) -> Mapping[str, np.ndarray]:
        found, found_input = pull(parameters, *arrays) if seed is None else function(seed, parameters, *arrays)
        flat = {".".join(map(str, path)): np.asarray(v[...]) for path, v in nnx.to_flat_state(found)}
        assert not function.unknown
        return {"input": relayout(np.asarray(found_input), "nhwc", "nchw"), **convert(flat, "flax", "torch")}

    return gradients


def factors(case: Case, witness: Callable[..., Gradients], *, train: bool) -> dict[str, float]:
    """The other witness's noise over the reference's, for each array."""
    expected = expect(case, draw(case, IMAGE, 0), "float32", ("gradients",), train=train)["gradients"]
    gradients = witness(case, train=train)
    truth = {key: np.asarray(array, np.float64) for key, array in gradients().items()}
    assert truth.keys() == expected.arrays.keys()
    found = measure(truth, gradients, DRAWS)
    return {key: found[key].noise.rms / noise.rms for key, noise in expected.noise.items() if noise.rms > 0}


WITNESSES = {"PyTorch": of_torch, "JAX": of_jax}


def main() -> None:
    """Measure the cases chosen and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="part of the names of the cases to measure")
    parser.add_argument("--engine", default="", help="PyTorch or JAX; both without it")
    parser.add_argument("--json", type=Path, help="where every factor goes")
    options = parser.parse_args()
    everything: dict[str, dict[str, float]] = {}
    print("| case | mode | engine | least | middle | most |\n|" + "---|" * 6)
    for case in (case for case in CASES if not case.heavy and options.case in case.name):
        for mode in case.modes:
            for engine, witness in WITNESSES.items():
                if options.engine not in ("", engine):
                    continue
                began = time.monotonic()
                found = factors(case, witness, train=mode == "train")
                everything[f"{case.name} {mode} {engine}"] = found
                values = list(found.values())
                numbers = " | ".join(f"{value:.2f}" for value in (min(values), np.median(values), max(values)))
                print(
                    f"| {case.name} | {mode} | {engine} | {numbers} | <!-- {time.monotonic() - began:.0f} s -->",
                    flush=True,
                )
                if options.json:
                    options.json.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
