"""Bring torchvision's and timm's ResNets into the three frameworks and compare the logits; time ResNet-50.

    python scripts/checkpoints.py [--folder FOLDER] [--image-side 64]

The libraries need a PyTorch of their own, so this makes a virtual environment in FOLDER/venv (a few GB, once) with

    pip install torch==2.14.1 torchvision==0.29.1 timm safetensors numpy

and lets it build the networks with their own constructors and random weights, and run them in float64 and float32. Each
network then goes through `parity.weights.dialects.networks.identify` and `parity.set_weights` into every framework.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).absolute().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from parity import ParityError  # noqa: E402
from parity.catalogue.cases import Case  # noqa: E402
from parity.verdict.expect import expect_forward  # noqa: E402
from parity.verdict.judge import judge  # noqa: E402
from parity.weights.dialects import networks  # noqa: E402

PACKAGES = ("torch==2.14.1", "torchvision==0.29.1", "timm", "safetensors", "numpy")
NETWORKS = (("torchvision", "resnet18"), ("torchvision", "resnet50"), ("timm", "seresnet18"), ("timm", "seresnet50"))
REFUSED = (
    ("timm", "legacy_seresnet18"),
    ("timm", "legacy_seresnet50"),
    ("timm", "resnet50d"),
    ("timm", "seresnext50_32x4d"),
)
FRAMEWORKS = ("torch", "paddle", "flax")
DTYPES = ("float64", "float32")
BENCHMARK_RATIO = 1.05


def main() -> None:
    """Build, port, compare, time; exit code 1 where something differs or is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/checkpoints"))
    parser.add_argument("--python", type=Path, help="an interpreter that has the packages already")
    parser.add_argument("--image-side", type=int, default=64)
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    python = arguments.python or install(folder / "venv")
    wanted = json.dumps([*NETWORKS, *REFUSED])
    command = [
        str(python),
        "-W",
        "ignore",
        str(HERE / "checkpoints_source.py"),
        str(folder),
        wanted,
        str(arguments.image_side),
        str(ROOT),
    ]
    timed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # A list, so that each is shown whatever the one before it said.
    verdicts = [check(folder, library, name) for library, name in NETWORKS]
    verdicts += [refuse(folder, library, name) for library, name in REFUSED]
    for line in timed.splitlines():
        figures = json.loads(line)
        fast = figures["ratio"] <= BENCHMARK_RATIO
        print(
            f"ResNet-50 forward, {figures['batch']} x 3 x 224 x 224: {figures['ratio']:.3f} of torchvision's time by "
            f"the median of ratios, {figures['best']:.3f} by the fastest; {1000 * figures['torchvision']:.0f} ms: "
            f"{'ok' if fast else 'SLOWER'}"
        )
        verdicts.append(fast)
    sys.exit(0 if all(verdicts) else 1)


def install(folder: Path) -> Path:
    """The libraries' own environment."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PACKAGES)} into {folder}")
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def check(folder: Path, library: str, name: str) -> bool:
    """Port one network to the frameworks, each in a process of its own, and judge its logits."""
    arrays = load_file(folder / f"{library}_{name}.safetensors")
    network = networks.identify(state(arrays))
    save_file(network.weights, folder / "weights.safetensors")
    save_file({"input": arrays["input"]}, folder / "input.safetensors")
    (folder / "job.json").write_text(json.dumps([network.depth, network.options]))
    logits = {library: {dtype: arrays[dtype] for dtype in DTYPES}}
    for framework in FRAMEWORKS:
        switches = {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-W", "ignore", str(HERE / "checkpoints_target.py"), framework, str(folder)]
        subprocess.run(command, check=True, env={**os.environ, **switches}, stdout=subprocess.DEVNULL)
        logits[framework] = load_file(folder / "logits.safetensors")
    case = Case("SEResNet", name, (network.depth,), arrays["input"].shape, "a known checkpoint", network.options)
    expected = {dtype: expect_forward(case, network.weights, arrays["input"], dtype, train=False) for dtype in DTYPES}
    passed = True
    print(f"{library} {name} as {network.call}")
    for system, found in logits.items():
        verdicts = [
            judge({"output": found[dtype]}, {"output": truth.arrays["output"]}, dtype, truth.noise)
            for dtype, truth in expected.items()
        ]
        said = ", ".join(
            f"{dtype} {v.error:.2g} {v.unit} of {v.limit:g}" for dtype, v in zip(DTYPES, verdicts, strict=True)
        )
        same = all(verdict.passed for verdict in verdicts)
        print(f"    {system:12} {said}: {'same' if same else 'DIFFERS'}")
        passed &= same
    return passed


def refuse(folder: Path, library: str, name: str) -> bool:
    """Whether a network that SEResNet cannot be is refused."""
    try:
        networks.identify(state(load_file(folder / f"{library}_{name}.safetensors")))
    except ParityError as error:
        print(f"{library} {name} is refused: {error}")
        return True
    print(f"{library} {name} is NOT refused")
    return False


def state(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights among a file's arrays."""
    return {key.removeprefix("state/"): array for key, array in arrays.items() if key.startswith("state/")}


if __name__ == "__main__":
    main()
