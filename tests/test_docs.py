"""Every shell block and every Python block of the README and the documentation runs as it is typed.

Each page's blocks run one after another in a folder of their own. `make`, `pip` and their like only say what they would
do, and commands of `parity` that start frameworks are parsed with all their options: other tests run them.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from test_rules import vit_weights

import parity
from parity import save
from parity.frameworks import torch as torch_adapter

ROOT = Path(__file__).parent.parent
RULES = ROOT / "docs" / "rules.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(bash|sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHIM = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT / "tests" / "helpers")!r})
import typed
typed.main(__file__, sys.argv[1:])
"""


def blocks(page):
    return FENCE.findall(page.read_text())


@pytest.fixture
def folder(tmp_path):
    """The files that the pages speak of: checkpoints, a photograph, a configuration, the examples."""
    (tmp_path / "bin").mkdir()
    # A link to the interpreter would leave its environment.
    scripts = {"python": f'#!/bin/sh\nexec {sys.executable} "$@"\n'}
    scripts |= dict.fromkeys(("parity", "make", "pip", "pre-commit", "pytest"), SHIM)
    for name, text in scripts.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "parity.toml").write_text(f'[python]\nflax = "{sys.executable}"\n')
    golden = load_file(ROOT / "tests" / "golden" / "timm_cbam.safetensors")
    state = {key.removeprefix("state/"): value for key, value in golden.items() if key.startswith("state/")}
    save_file(state, tmp_path / "timm_cbam.safetensors")
    save(parity.load(tmp_path / "timm_cbam.safetensors", framework="torch").weights, tmp_path / "cbam.pth")
    shutil.copy(tmp_path / "cbam.pth", tmp_path / "timm_cbam.pth")
    aspp = parity.get_weights(torch_adapter.build("ASPP", (4, 8), {}))
    np.savez(tmp_path / "a.npz", **{f"head.aspp.{k}": v for k, v in parity.convert(aspp, "torch", "paddle").items()})
    subprocess.run(
        [sys.executable, "-m", "parity", "convert", "a.npz", "model.pdparams", "--from", "paddle", "--dialect", "none"],
        cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    weights = {key: torch.from_numpy(np.array(array)) for key, array in aspp.items()}
    saved = {
        "state_dict": {f"model.{key}": each for key, each in weights.items()},
        "state_dict_ema": weights,
        "epoch": 3,
    }
    torch.save(saved, tmp_path / "train.ckpt")
    # What docs/rules.md speaks of.
    (tmp_path / "vit.toml").write_text(re.search(r"^```toml\n(.*?)^```", RULES.read_text(), re.M | re.S)[1])
    save({**vit_weights(12), "cls_token": np.ones((1, 1, 12))}, tmp_path / "vit.pth")
    save({"emb.weight": np.ones((5, 4)), "head.weight": np.ones((2, 4))}, tmp_path / "classifier.pth")
    attention = {"in_proj_weight": np.ones((24, 8)), "out_proj.weight": np.ones((8, 8))}
    save({f"layers.0.attn.{key}": array for key, array in attention.items()}, tmp_path / "encoder.pth")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    for name in ("examples", "scripts", "benchmarks", "tests"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_as_typed(page, folder):
    env = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "SLURM_ARRAY_TASK_ID": "0",
        "PARITY_ROOT": str(ROOT),
    }
    for language, text in blocks(page):
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{page.name}:\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_there_is_something_to_run():
    found = [language for page in PAGES for language, _ in blocks(page)]
    assert found.count("python") >= 3
    assert len(found) >= 10


def test_the_shim_can_fail(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PARITY_ROOT": str(ROOT)}
    for line in (
        "parity mutants --framwork torch",
        "parity inspect not-there.pth",
        "make no-such-target",
        "pip install '.[no]'",
    ):
        line = f"PATH={folder / 'bin'}:$PATH; {line}"
        assert subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True).returncode, line
