"""Each implementation needs its own framework alone, and `parity` none until it is asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"torch_impl": ("torch",), "paddle_impl": ("paddle",), "flax_impl": ("flax", "jax")}
# The rooms that weights pass through; the table of frameworks reads the catalogue's tasks, dialects the reference's layers.
MOVING = "cli weights frameworks catalogue reference"
FRAMEWORKS = {"torch", "paddle", "flax", "jax"}


def run(code, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_copied_away_works_where_only_its_framework_can_be_imported(package, tmp_path):
    shutil.copytree(ROOT / package, tmp_path / "copied")
    others = sorted({*FRAMEWORKS, *PACKAGES, "parity"} - {*PACKAGES[package], package})
    code = f"""
import sys
sys.modules.update(dict.fromkeys({others}))
import copied
{"from flax import nnx" if package == "flax_impl" else ""}
for name in sorted(copied.__all__):  # fold last, which takes the last module
    pairs = dict.fromkeys(("ASPP", "SE_ASPP", "BasicBlock", "Bottleneck"), (32, 16))
    args = {{"SpatialAttention": (), "SEResNet": (18,), **pairs}}.get(name, (32,))
    if name == "fold":
        copied.fold(model)
    else:
        model = getattr(copied, name)(*args{", rngs=nnx.Rngs(0)" if package == "flax_impl" else ""})
print(sorted(name for name in {others} if sys.modules.get(name) is not None))
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["parity", "parity.cli.app", "parity.runs.run", "parity.reference.modules", "parity.workers.worker"]
)
def test_parity_imports_no_framework(module):
    done = run(f"import sys, {module}; print(sorted({FRAMEWORKS!r} & set(sys.modules)))", ROOT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("arguments", "rooms"),
    [("--version", "cli"), *((f"{name} --help", MOVING) for name in ("convert", "inspect", "diff", "export"))],
)
def test_a_command_starts_without_the_rooms_of_the_others(arguments, rooms):
    code = f"""
import contextlib, sys
from parity.cli.app import app
with contextlib.redirect_stdout(None):
    app({arguments.split()}, standalone_mode=False)
print(*{{name.split(".")[1] for name in sys.modules if name.startswith("parity.") and name.count(".") > 1}})
print("numpy" in sys.modules)
"""
    loaded, numpy = run(code, ROOT).stdout.splitlines()
    assert {"cli"} <= set(loaded.split()) <= set(rooms.split())
    assert numpy == str(rooms == MOVING)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_implementation_adds_little_to_its_frameworks_import(package):
    code = f"""
import time, {", ".join(PACKAGES[package])}
{"from flax import nnx" if package == "flax_impl" else ""}
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
"""
    seconds = min(float(run(code, ROOT).stdout) for _ in range(3))
    assert seconds <= 0.05
