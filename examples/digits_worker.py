"""One framework's part of digits.py, in a process of its own: `python digits_worker.py FRAMEWORK FOLDER`.

`job.json` says what to do: "train" from the weights in `weights.safetensors`, or run the test images through the
trained weights. Prints a JSON line for each step.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from parity import frameworks, get_weights, set_weights
from parity.frameworks.layout import relayout


def main(name: str, folder: Path) -> None:
    """Do the folder's job in the framework `name` and leave the arrays in `NAME.safetensors`."""
    # What a framework prints must not come between the lines of JSON.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads((folder / "job.json").read_text())
    arrays = load_file(folder / "arrays.safetensors")
    framework = frameworks.load(name)
    model = framework.build("SEResNet", (job["depth"],), job["options"])
    set_weights(model, load_file(folder / "weights.safetensors"))
    if job["task"] == "train":
        losses: list[float] = []

        def advance(loss: float) -> None:
            losses.append(loss)
            lines.write(f"{json.dumps({'loss': loss})}\n")

        trainer = import_module(f"train_{name}")
        trainer.train(model, arrays["batches"], arrays["labels"], arrays["rates"], job["momentum"], advance)
        found = {"losses": np.array(losses), **{f"weights.{key}": array for key, array in get_weights(model).items()}}
    else:
        found = {"logits": framework.forward(model, arrays["test"], train=False)}
        if name in ("torch", "paddle", "flax"):
            found["attention"] = attention(model, arrays["shown"], job["options"]["attention"])
    save_file({key: np.ascontiguousarray(array) for key, array in found.items()}, folder / f"{name}.safetensors")


def attention(model: Any, x: np.ndarray, kind: str) -> np.ndarray:
    """The attention map of the first stage's last block, by the same attributes and methods in every framework."""
    axes, tensor = native(model)
    y = model.layer1[0](model.stem(tensor(relayout(x, "nchw", axes))))
    y = model.layer1[1].branch(y)
    module = model.layer1[1].se
    scale = module.scale(y) if kind == "se" else module.spatial.scale(module.channel(y))
    scale = scale.detach() if hasattr(scale, "detach") else scale
    return relayout(np.asarray(scale), axes, "nchw")


def native(model: Any) -> tuple[str, Callable[[np.ndarray], Any]]:
    """The order of a map's axes in the model's framework, and what makes an array its tensor."""
    name = frameworks.of(model).NAME
    if name == "torch":
        import torch

        return "nchw", lambda x: torch.from_numpy(x.copy())
    if name == "paddle":
        import paddle

        return "nchw", paddle.to_tensor
    import jax.numpy as jnp

    return "nhwc", jnp.asarray


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
