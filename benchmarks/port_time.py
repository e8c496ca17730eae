"""The time in which `parity port` names the one wrong layer of a ResNet-50, 25.6 million parameters at 224x224.

    python benchmarks/port_time.py

The original is this project's PyTorch ResNet-50 without attention, the ports its Flax and Paddle ones, each with one
layer of fifty made wrong. Each line is one command as a user types it, from its start to its end: both models built,
eval and train mode, forward and backward, the first layer that differs, and its cause.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORIGINAL = """
import torch
from torch_impl import SEResNet

def build():
    torch.manual_seed(0)
    return SEResNet(50, where=())
"""
PORTS = {
    "flax": "from flax import nnx\nfrom flax_impl import SEResNet\n\n"
    "def build():\n    model = SEResNet(50, where=(), rngs=nnx.Rngs(0))\n    {}\n    return model\n",
    "paddle": "from paddle_impl import SEResNet\n\n"
    "def build():\n    model = SEResNet(50, where=())\n    {}\n    return model\n",
}
# The layer, and the line that makes it wrong.
WRONG = {
    ("flax", "epsilon"): ("layer3.2.bn2", "model.layer3[2].bn2.epsilon = 1e-3"),
    ("flax", "padding"): ("layer2.0.conv2", "model.layer2[0].conv2.padding = 'SAME'"),
    ("paddle", "epsilon"): ("layer3.2.bn2", "model.layer3[2].bn2._epsilon = 1e-3"),
    ("paddle", "padding"): ("layer2.0.conv2", "model.layer2[0].conv2._updated_padding = [0, 1, 0, 1]"),
}


def measure(framework: str, mistake: str, shape: str, check: str) -> tuple[float, str, str]:
    """Seconds, the first difference and the cause, as the command says them."""
    layer, line = WRONG[framework, mistake]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "original.py").write_text(ORIGINAL)
        (folder / "port.py").write_text(PORTS[framework].format(line))
        command = [sys.executable, "-m", "parity", "port", f"{folder}/original.py:build", f"{folder}/port.py:build"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--shape", shape, "--check", check], env=environment, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - began
    said = {line.partition(" ")[0]: line for line in done.stdout.splitlines()}
    first = said.get("FIRST", done.stderr.strip())
    return taken, "named" if f"DIFFERENCE {layer} " in first else first, said.get("CAUSE", "no cause")


def main() -> None:
    """Print a line for each port and mistake."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="2,3,224,224")
    parser.add_argument("--check", default="eval,train")
    parser.add_argument("--framework", choices=("flax", "paddle"))
    options = parser.parse_args()
    print("| port | wrong | seconds | the layer | cause |\n|---|---|---|---|---|")
    for framework, mistake in WRONG:
        if options.framework in (None, framework):
            taken, layer, cause = measure(framework, mistake, options.shape, options.check)
            print(f"| {framework} | {mistake} | {taken:.0f} | {layer} | {cause} |", flush=True)


if __name__ == "__main__":
    main()
