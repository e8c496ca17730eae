"""Run a ported network in one framework; see checkpoints.py. `python checkpoints_target.py FRAMEWORK FOLDER`."""

import json
import sys
from pathlib import Path

from safetensors.numpy import load_file, save_file

from parity import frameworks, set_weights


def main(name: str, folder: Path) -> None:
    """Write the logits in both precisions."""
    framework = frameworks.load(name)
    depth, options = json.loads((folder / "job.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    x = load_file(folder / "input.safetensors")["input"]
    model = framework.build("SEResNet", (depth,), options)
    found = {}
    for dtype in ("float64", "float32"):
        set_weights(model, {key: array.astype(dtype) for key, array in weights.items()})
        found[dtype] = framework.forward(model, x.astype(dtype), train=False).copy()
    save_file(found, folder / "logits.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
