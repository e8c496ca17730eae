"""Plans the conversion of every model of timm's families, to Paddle and to Flax and back, from names and shapes alone.

    python scripts/timm_models.py                      resnet, efficientnet, vision_transformer and convnext
    python scripts/timm_models.py --module swin_transformer --shapes shapes.json

Needs timm. Models are built without memory where they can be. Each is counted as moved, as asked (the command says what
to type, and was told that), or as failed, which every array is that does not come back with its name, shape and value.
Exit code 1 where one failed. `--shapes` writes the names and shapes.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np

from parity.cli.weights import layers_told
from parity.errors import ParityError
from parity.frameworks.telling import parse_layer
from parity.weights.files import Opened
from parity.weights.files.transfer import Moved, plan

MODULES = ("resnet", "efficientnet", "vision_transformer", "convnext")
TARGETS = ("x.pdparams", "x.msgpack")
Shapes = dict[str, tuple[list[int], str]]


def shapes_of(name: str) -> Shapes:
    """The names, shapes and dtypes of a model's arrays."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except Exception:  # some compute while they are built
        model = timm.create_model(name, pretrained=False)
    return {key: (list(a.shape), str(a.dtype).removeprefix("torch.")) for key, a in model.state_dict().items()}


def there_and_back(shapes: Shapes, target: str, kinds: tuple[str, ...]) -> list[str]:
    """The arrays that do not come back, where each holds one value of its own.

    Raises:
        ParityError: as `parity convert` does.
    """
    given = {
        key: np.broadcast_to(np.asarray(i % 97, dtype), shape) for i, (key, (shape, dtype)) in enumerate(shapes.items())
    }
    told = {path: parse_layer(kind) for path, kind in layers_told([f"*={kind}" for kind in kinds]).items()}
    there = _planned(given, "torch", {}, told, target)
    back = _planned(there.arrays, there.framework, there.metadata, told, "x.pt").arrays
    lost = (
        key
        for key, array in given.items()
        if key not in back or back[key].shape != array.shape or not np.array_equal(back[key].flat[:1], array.flat[:1])
    )
    return [*lost, *(key for key in back if key not in given)]


def _planned(arrays: dict[str, np.ndarray], framework: str, metadata: dict[str, str], told: dict, target: str) -> Moved:
    opened = Opened(dict(arrays), framework, metadata, (), lambda: None, told)
    return plan(opened, Path(target), to=None, dialect=None, prefix=None)


def try_all(shapes: Shapes, target: str) -> str:
    """`moved`, `asked` where it must be told that layers are what they look like, or what went wrong."""
    for kinds in ((), ("convolution", "linear")):
        try:
            lost = there_and_back(shapes, target, kinds)
        except ParityError as error:
            said = str(error)
            if kinds or "say it with --layer" not in said:
                return said
        else:
            return f"lost {', '.join(lost[:5])}" if lost else ("asked" if kinds else "moved")
    return said


def main() -> int:
    """Plan all; see above."""
    import timm

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", action="append", help=f"a module of timm.models; left out, {', '.join(MODULES)}")
    parser.add_argument("--shapes", type=Path, help="write names, shapes and dtypes to this JSON file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    failed, written = 0, {}
    for module in arguments.module or MODULES:
        counts: dict[str, int] = {}
        for name in timm.list_models(module=module):
            shapes = written[name] = shapes_of(name)
            for target in TARGETS:
                said = try_all(shapes, target)
                known = said in ("moved", "asked")
                counts[said if known else "failed"] = counts.get(said if known else "failed", 0) + 1
                failed += not known
                if not known:
                    print(f"{name} to {target}: {said}")
        print(f"{module}: {', '.join(f'{count} {what}' for what, count in counts.items())}", flush=True)
    if arguments.shapes:
        arguments.shapes.write_text(json.dumps(written))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
