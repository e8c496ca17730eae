"""Checks the golden vectors, and so the dialects, against the packages that they are from.

    python scripts/golden.py                 every system whose package is installed here
    python scripts/golden.py pytorchcv_cbam  some of them
    python scripts/golden.py --write NAME    writes the vectors of a new one

For each system the package's own class is built, its keys and shapes are compared with the file's, the file's weights
are loaded and the outputs, gradients and buffers of both modes compared. What is not installed is said. Exit code 1
where something differs, 2 where nothing could be checked.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent.parent / "tests" / "golden"
LIMIT = 1e-12


@dataclass(frozen=True)
class System:
    """A class of a package, its arguments and the shape of an input."""

    name: str
    framework: str
    where: str
    kwargs: dict[str, Any]
    shape: tuple[int, ...] = (2, 32, 9, 7)
    notes: str = ""

    @property
    def file(self) -> Path:
        """The vectors."""
        return FOLDER / f"{self.name}.safetensors"

    def find(self) -> Any:
        """The package's class."""
        source, _, name = self.where.partition(":")
        try:
            return getattr(importlib.import_module(source), name)
        except Exception:  # what a package needs besides, or the version that it wants of that
            return getattr(_alone(source), name)


SMALL = (2, 16, 5, 4)
SYSTEMS = (
    System(
        "torchvision_se",
        "torch",
        "torchvision.ops.misc:SqueezeExcitation",
        {"input_channels": 32, "squeeze_channels": 8},
    ),
    System(
        "torchvision_aspp",
        "torch",
        "torchvision.models.segmentation.deeplabv3:ASPP",
        {"in_channels": 4, "atrous_rates": [6, 12, 18], "out_channels": 8},
    ),
    System("timm_se", "torch", "timm.layers:SEModule", {"channels": 32}),
    System("timm_cbam", "torch", "timm.layers.cbam:CbamModule", {"channels": 32}),
    System(
        "timm_mobilenetv3_se",
        "torch",
        "timm.models._efficientnet_blocks:SqueezeExcite",
        {"in_chs": 16, "rd_ratio": 0.25},
        SMALL,
        "ReLU, as in MobileNetV3; EfficientNet's has SiLU",
    ),
    System(
        "segmentation_models_pytorch_aspp",
        "torch",
        "segmentation_models_pytorch.decoders.deeplabv3.decoder:ASPP",
        {"in_channels": 4, "out_channels": 3, "atrous_rates": [2, 3, 4], "separable": False, "dropout": 0.0},
        (2, 4, 11, 9),
    ),
    System("pytorchcv_se", "torch", "pytorchcv.models.common.att:SEBlock", {"channels": 16, "reduction": 4}, SMALL),
    System(
        "pytorchcv_cbam",
        "torch",
        "pytorchcv.models.cbamresnet:CbamBlock",
        {"channels": 16, "reduction_ratio": 4},
        (2, 16, 9, 8),
        "Linear with bias; [max, mean]; a norm after the convolution",
    ),
    System(
        "pytorchcv_aspp",
        "torch",
        "pytorchcv.models.deeplabv3:AtrousSpatialPyramidPooling",
        {"in_channels": 16, "upscale_out_size": None},
        (2, 16, 29, 27),
        "rates 12, 24, 36; dropout set to 0",
    ),
    System(
        "monai_se",
        "torch",
        "monai.networks.blocks:ChannelSELayer",
        {"spatial_dims": 2, "in_channels": 16, "r": 4},
        SMALL,
    ),
    System(
        "super_gradients_se",
        "torch",
        "super_gradients.modules.se_blocks:SEBlock",
        {"in_channels": 16, "internal_neurons": 4},
        (2, 16, 5, 5),
        "pools over height times height",
    ),
    System(
        "mmsegmentation_se",
        "torch",
        "mmseg.models.utils.se_layer:SELayer",
        {"channels": 32, "ratio": 4},
        (2, 32, 5, 4),
        "hard sigmoid",
    ),
    System(
        "ultralytics_spatial_attention",
        "torch",
        "ultralytics.nn.modules.conv:SpatialAttention",
        {"kernel_size": 7},
        (2, 16, 9, 8),
    ),
    System(
        "paddleclas_mobilenetv3_se",
        "paddle",
        "paddleclas.ppcls.arch.backbone.legendary_models.mobilenet_v3:SEModule",
        {"channel": 32, "reduction": 4},
    ),
    System(
        "paddleclas_senet_se",
        "paddle",
        "paddleclas.ppcls.arch.backbone.model_zoo.se_resnext:SELayer",
        {"num_channels": 16, "num_filters": 16, "reduction_ratio": 4, "name": "se"},
        SMALL,
    ),
    System(
        "paddledet_se", "paddle", "ppdet.modeling.backbones.resnet:SELayer", {"ch": 16, "reduction_ratio": 4}, SMALL
    ),
    System(
        "paddleseg_aspp",
        "paddle",
        "paddleseg.models.layers.pyramid_pool:ASPPModule",
        {
            "aspp_ratios": [1, 6, 12, 18],
            "in_channels": 4,
            "out_channels": 8,
            "align_corners": False,
            "image_pooling": True,
        },
    ),
)


def _alone(source: str) -> ModuleType:
    """The module without what its packages import, which may need far more than is installed."""
    root = source.partition(".")[0]
    spec = importlib.util.find_spec(root) if root not in sys.modules else sys.modules[root].__spec__
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {root!r}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    for name in [name for name in sys.modules if name.partition(".")[0] == root]:
        del sys.modules[name]
    package = root
    for part in source.split(".")[1:]:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
        package, folder = f"{package}.{part}", folder / part
    return importlib.import_module(source)


def build(system: System, cls: Any, kwargs: dict[str, Any]) -> Any:
    """The module in float64, without dropout."""
    return (_torch if system.framework == "torch" else _paddle)(cls, kwargs)


def _torch(cls: Any, kwargs: dict[str, Any]) -> Any:
    import torch

    model = cls(**kwargs).double()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    return model


def _paddle(cls: Any, kwargs: dict[str, Any]) -> Any:
    import paddle

    paddle.set_default_dtype("float64")
    model = cls(**kwargs)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    return model


def state(model: Any) -> dict[str, np.ndarray]:
    """The module's own arrays by its own keys."""
    return {key: np.atleast_1d(np.array(tensor.detach().cpu().numpy())) for key, tensor in model.state_dict().items()}


def load(system: System, model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put the arrays into the module, strictly."""
    if system.framework == "torch":
        import torch

        own = model.state_dict()
        model.load_state_dict({key: torch.from_numpy(a.copy()).reshape(own[key].shape) for key, a in arrays.items()})
    else:
        missing, unexpected = model.set_state_dict(arrays)
        assert not missing
        assert not unexpected


def run(system: System, model: Any, x: np.ndarray, cotangent: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, dict]:
    """The output, the gradient of the input and those of the parameters; the cotangent is drawn where there is none."""
    if system.framework == "torch":
        import torch

        given = torch.from_numpy(x.copy()).requires_grad_()
        make, parameters = torch.from_numpy, dict(model.named_parameters())
    else:
        import paddle

        given = paddle.to_tensor(x, stop_gradient=False)
        make, parameters = paddle.to_tensor, dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.clear_grad() if system.framework == "paddle" else parameter.__setattr__("grad", None)
    y = model(given)
    drawn = np.random.default_rng(2).standard_normal(tuple(y.shape)) if cotangent is None else cotangent
    (y * make(drawn)).sum().backward()
    # Paddle has none for a parameter that the output does not depend on.
    gradients = {key: np.array(each.grad.numpy()) for key, each in parameters.items() if each.grad is not None}
    return np.array(y.detach().numpy()), np.array(given.grad.numpy()), {"cotangent": drawn, **gradients}


def vectors(system: System, model: Any, arrays: dict[str, np.ndarray], x: np.ndarray, c: Any) -> dict[str, np.ndarray]:
    """All that a file holds, computed by the package."""
    found = {"input": x, **{f"state/{key}": array for key, array in arrays.items()}}
    for mode in ("eval", "train"):
        load(system, model, arrays)
        model.train() if mode == "train" else model.eval()
        y, of_input, rest = run(system, model, x, c)
        found["cotangent"] = c = rest.pop("cotangent")
        found |= {f"{mode}/output": y, f"{mode}/grad_input": of_input}
        found |= {f"{mode}/grad/{key}": gradient for key, gradient in rest.items()}
    moved = {key for key in arrays if key.rpartition(".")[2].startswith(("running_", "num_", "_mean", "_variance"))}
    return found | {f"train/state/{key}": array for key, array in state(model).items() if key in moved}


def drawn(model: Any) -> dict[str, np.ndarray]:
    """Weights that hide nothing: no ones, no zeros, positive variances."""
    rng = np.random.default_rng(0)
    found = {}
    for key, array in state(model).items():
        last = key.rpartition(".")[2]
        if array.dtype.kind != "f":
            found[key] = array
        elif last in ("running_var", "_variance") or (array.ndim == 1 and last == "weight"):
            found[key] = rng.uniform(0.5, 1.5, array.shape)
        else:
            found[key] = rng.standard_normal(array.shape) / np.sqrt(max(1, np.prod(array.shape[1:])))
    return found


def read(system: System) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The file's arrays and the arguments that its module was built with."""
    with safe_open(system.file, "numpy") as file:
        arguments = json.loads(file.metadata()["kwargs"])
        return {key: file.get_tensor(key) for key in file.keys()}, arguments  # noqa: SIM118


def differences(system: System, cls: Any) -> Iterator[str]:
    """Describe each difference between the file and the package."""
    have, kwargs = read(system)
    model = build(system, cls, {**system.kwargs, **kwargs})
    arrays = {key.removeprefix("state/"): array for key, array in have.items() if key.startswith("state/")}
    own = state(model)
    if own.keys() != arrays.keys():
        yield f"keys {', '.join(sorted(own.keys() ^ arrays.keys()))}"
        return
    for key, array in vectors(system, model, arrays, have["input"], have["cotangent"]).items():
        if key not in have or have[key].shape != array.shape:
            yield f"{key} is missing or of another shape"
        elif not np.abs(have[key] - array).max() <= LIMIT * max(1.0, np.abs(array).max()):
            yield f"{key} by {np.abs(have[key] - array).max():.1e}"


def write(system: System, cls: Any) -> None:
    """Write the vectors of a system."""
    model = build(system, cls, system.kwargs)
    x = np.random.default_rng(1).standard_normal(system.shape)
    metadata = {"system": system.name, "framework": system.framework, "layout": "nchw", "source": system.where}
    metadata |= {"kwargs": json.dumps(system.kwargs), "notes": system.notes}
    found = vectors(system, model, drawn(model), x, None)
    save_file({key: np.ascontiguousarray(array) for key, array in found.items()}, system.file, metadata)


def main() -> int:
    """Check what is asked for; see above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(each.name for each in SYSTEMS)}")
    parser.add_argument("--write", action="store_true", help="write the vectors of these instead")
    arguments = parser.parse_args()
    chosen = [each for each in SYSTEMS if not arguments.names or each.name in arguments.names]
    if unknown := set(arguments.names) - {each.name for each in SYSTEMS}:
        parser.error(f"unknown {', '.join(sorted(unknown))}")
    checked = wrong = 0
    for system in chosen:
        try:
            cls = system.find()
        except Exception as error:  # a package that is half installed raises what it likes
            print(f"{system.name}: not checked, {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        found = (write(system, cls) or []) if arguments.write else list(differences(system, cls))
        checked, wrong = checked + 1, wrong + bool(found)
        print(f"{system.name}: {'differs: ' + '; '.join(found[:5]) if found else 'equal'} ({system.where})")
    print(f"{checked} of {len(chosen)} checked, {wrong} differ")
    return 2 if not checked else int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
