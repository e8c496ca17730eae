"""Build other libraries' networks in their own environment, run them, and time ResNet-50; see checkpoints.py.

`python checkpoints_source.py FOLDER NETWORKS IMAGE_SIDE ROOT` writes LIBRARY_NAME.safetensors for each network and
prints a JSON line for each batch size timed.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from safetensors.numpy import save_file
from torch import Tensor, nn

TIMED = ((1, 41), (8, 21))


def main(folder: Path, networks: list[tuple[str, str]], side: int, root: str) -> None:
    """Write what each network computes, then time."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, side, side), np.float32))
    for library, name in networks:
        model = build(library, name)
        arrays = {f"state/{key}": value.numpy().copy() for key, value in model.state_dict().items()}
        with torch.inference_mode():
            arrays["float32"] = model(x).numpy()
            arrays["float64"] = model.double()(x.double()).numpy()
        save_file({**arrays, "input": x.numpy()}, folder / f"{library}_{name}.safetensors")
    sys.path.insert(0, root)
    for batch, rounds in TIMED:
        print(json.dumps({"batch": batch, **compare(batch, rounds)}))


def build(library: str, name: str) -> nn.Module:
    """The library's own network with its own random weights, its norms moved away from the identity."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)() if library == "torchvision" else timm.create_model(name)
    for key, value in model.state_dict().items():
        if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1 and value.is_floating_point():
            value.normal_(0, 0.2)
    return model.eval()


def compare(batch: int, rounds: int) -> dict[str, float]:
    """ResNet-50's time beside torchvision's, taken in turns: the median of ratios, and the fastest of each."""
    import torch_impl

    theirs = torchvision.models.resnet50().eval()
    ours = torch_impl.SEResNet(50, where=()).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, 3, 224, 224)
    times: dict[nn.Module, list[float]] = {theirs: [], ours: []}
    with torch.inference_mode():
        if not torch.equal(theirs(x), ours(x)):
            raise RuntimeError("the logits are not bit for bit torchvision's")
        for i in range(rounds):
            for model in (theirs, ours) if i % 2 else (ours, theirs):
                times[model].append(seconds(model, x))
    return {
        "ratio": statistics.median(o / t for t, o in zip(times[theirs], times[ours], strict=True)),
        "best": min(times[ours]) / min(times[theirs]),
        "torchvision": min(times[theirs]),
    }


def seconds(model: nn.Module, x: Tensor) -> float:
    """The seconds that one call takes."""
    start = time.perf_counter()
    model(x)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
