"""The noise units of honest float32, and of mistakes, on Flax models that nobody here wrote.

    pip install --no-deps flaxmodels transformer-in-transformer-flax
    pip install h5py einops requests regex tqdm dill filelock
    python benchmarks/noise_flax.py --seeds 20

For each model and seed: random weights, inputs and cotangents; the truth in float64; the noise from some draws of Monte
Carlo arithmetic on its jaxpr, as `parity port` measures it; then JAX's own float32, and float32 with the operands of
products, forward and backward, rounded as TF32 and bfloat16 do, and with 2e-5 for every norm's epsilon. Printed is the
worst array's error in noise units, of output, gradients and buffers, in train mode for even seeds
and in eval mode for odd ones. The columns are those of `benchmarks/noise.py`.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax
import numpy as np
from flax import linen, nnx
from noise import EPSILON, UNIT_ROUNDOFF, row

from parity.montecarlo.estimate import Estimate
from parity.port.load import build
from parity.port.noise import unpack
from parity.port.opening import open_model
from parity.port.side import Side
from parity.verdict.judge import NOISE_LIMIT, Noise, noise_units

# How many bits of the operands of products are left behind the first one.
BITS = {"TF32": 10, "bfloat16": 7}


def of_linen(module: linen.Module, *shape: int, **options: Any) -> tuple[linen.Module, Mapping[str, Any]]:
    """A Linen module and its variables."""
    return module, module.init(jax.random.key(0), np.zeros(shape, np.float32), **options)


def resnet() -> Any:
    """flaxmodels' ResNet-18, whose statistics come from pretrained files or from training."""
    from flaxmodels import ResNet18

    module = ResNet18(output="logits", pretrained=None, normalize=False, num_classes=10, dtype=None)
    return of_linen(module, 4, 48, 48, 3, train=False)


def transformer_in_transformer() -> Any:
    """Two blocks of lucidrains' transformer in transformer, as its Flax package has it."""
    from transformer_in_transformer_flax import TNTConfig, TransformerInTransformer

    sizes = {"image_size": 48, "patch_size": 16, "transformed_patch_size": 4, "inner_dim": 16, "outer_dim": 48}
    heads = {"inner_heads": 2, "inner_dim_head": 8, "outer_heads": 4, "outer_dim_head": 12}
    config = TNTConfig(num_classes=10, depth=2, dtype=None, **sizes, **heads)
    return of_linen(TransformerInTransformer(config), 2, 48, 48, 3)


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "resnet18 (flaxmodels), Linen": (resnet, (4, 48, 48, 3)),
    "transformer in transformer (its Flax package), two blocks, Linen": (transformer_in_transformer, (2, 48, 48, 3)),
}


@contextmanager
def rounded(bits: int) -> Iterator[None]:
    """Every product in float32, forward and backward, gets operands of so many bits."""
    primitives = [jax.lax.dot_general_p, jax.lax.conv_general_dilated_p]

    def low(x: Any) -> Any:
        return jax.lax.reduce_precision(x, 8, bits) if x.dtype == np.float32 else x

    own = {primitive: primitive.bind for primitive in primitives}
    for primitive in primitives:
        primitive.bind = lambda *operands, bind=own[primitive], **options: bind(*map(low, operands), **options)
    jax.clear_caches()
    try:
        yield
    finally:
        for primitive in primitives:
            del primitive.bind
        jax.clear_caches()


@contextmanager
def other_epsilon(model: nnx.Module) -> Iterator[list[int]]:
    """Every norm has 2e-5 for its epsilon; how many there were, once the model has run."""
    changed = [layer for _, layer in nnx.iter_modules(model) if isinstance(getattr(layer, "epsilon", None), float)]
    before = [layer.epsilon for layer in changed]
    count = [len(changed)]

    def through(forward: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(getattr(context.module, "epsilon", None), float) and context.method_name == "__call__":
            object.__setattr__(context.module, "epsilon", EPSILON)
            count[0] += 1
        return forward(*args, **kwargs)

    for layer in changed:
        layer.epsilon = EPSILON
    try:
        with linen.intercept_methods(through):
            yield count
    finally:
        for layer, epsilon in zip(changed, before, strict=True):
            layer.epsilon = epsilon


def draw_weights(side: Side, seed: int) -> None:
    """Norms and biases away from their defaults, which hide mistakes; zeros too."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for key, array in side.get_weights().items():
        leaf = key.rpartition(".")[2]
        if array.dtype.kind != "f":
            drawn[key] = array
        elif leaf in ("running_var", "var") or (leaf in ("weight", "scale") and array.ndim == 1):
            drawn[key] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif array.ndim < 2 or not array.any():
            drawn[key] = (0.3 * rng.standard_normal(array.shape)).astype(np.float32)
        else:
            fan = float(np.prod(array.shape[1:]))
            drawn[key] = (rng.standard_normal(array.shape) / fan**0.5).astype(np.float32)
    side.set_weights(drawn)


def measure_model(name: str, seed: int, draws: int) -> tuple[dict[str, dict[str, float]], list[str], int]:
    """The noise units of each array, of float32 as it is and of each mistake; unknown operations; and the draws."""
    factory, shape = MODELS[name]
    side = open_model(lambda: build(factory, name))
    draw_weights(side, seed)
    inputs = [np.random.default_rng(seed).standard_normal(shape, np.float32).astype(np.float64)]
    options: dict[str, Any] = {"train": seed % 2 == 0, "layers": False, "gradients": True, "salt": f"{seed}|"}
    truth = {key: array for key, array in side.run(inputs, dtype="float64", **options)[0].items() if _counts(key)}

    def compute() -> dict[str, np.ndarray]:
        return side.run(inputs, dtype="float32", **options)[0]

    honest = compute()
    errors = {}
    for key, array in truth.items():
        size = Noise.of(honest[key].astype(np.float64) - array)
        errors[key] = np.array([size.rms, size.peak])
    packed, facts = side.noise(inputs, unit_roundoff=UNIT_ROUNDOFF, draws=draws, errors=errors, **options)
    noise = unpack(packed, facts["draws"])

    def units(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {_named(key): _units(arrays[key], truth[key], noise[key]) for key in truth}

    found = {"float32": units(honest)}
    for mistake, bits in BITS.items():
        with rounded(bits):
            found[mistake] = units(compute())
    with other_epsilon(side.model) as count:
        wrong = compute()
    if count[0]:
        found["epsilon"] = units(wrong)
    return found, facts["unknown"], facts["draws"]


def _units(array: np.ndarray, truth: np.ndarray, noise: Estimate) -> float:
    if array.dtype != np.float32:
        raise TypeError(f"a float32 model must give float32, got {array.dtype}")
    return noise_units(array.astype(np.float64) - truth, noise.noise)


def _counts(key: str) -> bool:
    """Whether the array is judged: the output, a gradient, or a buffer."""
    return key.startswith(("value||0|out|", "gradient||0|in|", "parameter|", "buffer|"))


def _named(key: str) -> str:
    kind = key.partition("|")[0]
    return "output" if kind == "value" else key if kind == "buffer" else f"gradient of {key}"


def main() -> None:
    """Measure the models chosen and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many draws of weights and inputs each model gets")
    parser.add_argument("--draws", type=int, default=4, help="how many draws of the noise each of these gets")
    parser.add_argument("--model", default="", help="part of the names of the models to measure")
    options = parser.parse_args()
    print(f"the limit is {NOISE_LIMIT:g} units")
    print("| model | outputs | gradients | buffers | TF32 | bfloat16 | epsilon | over the limit |\n|" + "---|" * 8)
    for name in (name for name in MODELS if options.model in name):
        began, seeds = time.monotonic(), []
        for seed in range(options.seeds):
            found, unknown, draws = measure_model(name, seed, options.draws)
            seeds.append({"units": found, "unknown": unknown, "draws": draws})
        most = max(seed["draws"] for seed in seeds)
        print(row(name, seeds), f"<!-- {time.monotonic() - began:.0f} s, up to {most} draws -->", flush=True)


if __name__ == "__main__":
    main()
