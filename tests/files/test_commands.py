"""The commands as a user runs them: exit codes, JSON, one line of error, and little memory for large files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hard import SHAPES, hard_weights, names

import parity
from parity.__main__ import _end, main

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
FLOAT32 = np.dtype(np.float32)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_inspect(tmp_path: Path) -> None:
    weights = hard_weights(FLOAT32)
    parity.save(weights, tmp_path / "x.pth", metadata={"note": "a\x1b[31mb"})
    parity.save(weights, tmp_path / "x.orbax", framework="linen")
    reports = [json.loads(run("inspect", "--json", tmp_path / name).stdout) for name in ("x.pth", "x.orbax")]
    assert [report["framework"] for report in reports] == ["torch", "linen"]
    assert reports[0]["tensors"] == sorted(reports[1]["tensors"], key=lambda each: list(SHAPES).index(each["name"]))
    assert {each["name"]: each["shape"] for each in reports[0]["tensors"]} == {k: [*s] for k, s in SHAPES.items()}
    assert len({each["sha256"] for each in reports[0]["tensors"]}) == len(SHAPES)
    assert reports[0]["metadata"] == {"note": "a\x1b[31mb"}
    shown = run("inspect", tmp_path / "x.pth").stdout
    assert "branches.0.conv.weight" in shown
    assert "\x1b" not in shown


def test_inspect_shows_what_fits_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"a.weight_hr_l0": np.arange(3), "b.running_mean": np.zeros(2)})
    report = json.loads(run("inspect", "--json", tmp_path / "x.npz").stdout)
    assert [each["name"] for each in report["tensors"]] == ["a.weight_hr_l0", "b.running_mean"]
    assert "no layout is known for these torch arrays: a.weight_hr_l0" in report["problem"]


def test_diff(tmp_path: Path) -> None:
    weights = hard_weights(FLOAT32)
    parity.save(weights, tmp_path / "a.pdparams", framework="paddle")
    parity.save(weights, tmp_path / "b.msgpack", framework="flax")
    assert run("diff", tmp_path / "a.pdparams", tmp_path / "b.msgpack").returncode == 0
    changed = {key: array.copy() for key, array in weights.items()}
    changed["pool.norm.bias"][:] = 0.0
    changed["pool.norm.bias"][1] = -0.0
    weights["pool.norm.bias"] = np.zeros(3, np.float32)
    weights["fc.weight"][1, 2], changed["fc.weight"][1, 2] = 1.0, 1.5
    changed["pool.norm.weight"] = changed["pool.norm.weight"].astype(np.float64)
    changed["more.weight"] = np.zeros((1, 2, 3, 4), np.float32)
    del changed["branches.0.conv.bias"]
    parity.save(weights, tmp_path / "a.npz")
    parity.save(changed, tmp_path / "b.pth")
    result = run("diff", "--json", tmp_path / "a.npz", tmp_path / "b.pth")
    assert result.returncode == 1
    found = {each["name"]: each for each in json.loads(result.stdout)["differences"]}
    assert found.keys() == {
        "branches.0.conv.bias",
        "fc.weight",
        "more.weight",
        "pool.norm.bias",
        "pool.norm.weight",
    }
    assert (found["fc.weight"]["values"], found["fc.weight"]["largest"]) == (1, 0.5)
    assert (found["pool.norm.bias"]["values"], found["pool.norm.bias"]["largest"]) == (1, 0.0)
    assert found["pool.norm.weight"]["what"] == "dtype float32 and float64"
    assert run("diff", tmp_path / "a.npz", tmp_path / "b.pth").returncode == 1
    (tmp_path / "c.npz").write_bytes(b"PK\3\4")
    assert run("diff", tmp_path / "a.npz", tmp_path / "c.npz").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "no.npz", "x.pt"], "no.npz: there is no such file"),
        (["convert", "a.npz", "x.h5"], "x.h5 must end in one of .safetensors"),
        (["convert", "a.npz", "a.npz"], "a.npz exists; give --force"),
        (["convert", "a.npz", "x.pt", "--to", "flax"], "a .pt file holds torch weights"),
        (["convert", "a.npz", "x.npz", "--to", "keras"], "framework must be one of torch, paddle, flax, linen"),
        (["convert", "a.npz", "x.npz", "--from", "keras"], "framework must be one of torch, paddle, flax, linen"),
        (["convert", "a.npz", "x.npz", "--dtype", "float31"], "dtype must be one of float64"),
        (["convert", "a.npz", "x.npz", "--dtype", "int8"], "--dtype must be of floating point, got int8"),
        (["convert", "a.npz", "x.npz", "--dialect", "keras"], "there is no dialect 'keras'"),
        (["convert", "a.npz", "x.npz", "--dialect", "mine.toml"], "mine.toml: there is no such file of rules"),
        (["mutants", "--coverage", "--framework", "torch"], "leave out --framework"),
        (["convert", "a.npz", "x.npz", "--prefix", "head"], "a.npz: no key begins with 'head.'"),
        (["convert", "a.npz", "no/x.npz"], "there is no directory no"),
        (["convert", "a.npz"], "Missing argument"),
        (["inspect", "/dev/null"], "/dev/null: must be a file or a directory of a checkpoint"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    parity.save(hard_weights(FLOAT32), tmp_path / "a.npz")
    command = [sys.executable, "-m", "parity", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("parity: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == ["a.npz"]


NO_FRAMEWORK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "paddle", "jax", "flax", "orbax", "tensorstore", "torch_impl"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import parity
from parity.__main__ import _end, main
for suffix, framework in [("npz", "torch"), ("safetensors", "flax"), ("pdparams", "paddle"), ("pt", "torch"),
                          ("msgpack", "flax")]:
    weights = parity.load("x.npz").weights
    parity.save(weights, f"y.{suffix}", framework=framework, force=True)
    assert parity.load(f"y.{suffix}").weights.keys() == weights.keys()
try:
    parity.save(weights, "y.orbax")
except parity.ParityError as error:
    assert "pip install attention-parity[flax]" in str(error)
else:
    sys.exit("an Orbax checkpoint without Orbax")
"""


def test_needs_no_framework(tmp_path: Path) -> None:
    parity.save(hard_weights(FLOAT32), tmp_path / "x.npz")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", NO_FRAMEWORK], cwd=tmp_path, env=environment, check=True, timeout=60)


# The peak of this program alone: what the parent of a process is told counts the parent's own memory too.
PEAK = """
import contextlib, pathlib
from parity.__main__ import main
with contextlib.suppress(SystemExit):
    main()
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.parametrize("options", [(), ("--to", "flax"), ("--dtype", "bfloat16")], ids=" ".join)
def test_large_files_take_little_memory(options: tuple[str, ...], tmp_path: Path) -> None:
    """At most the largest tensor and 200 MiB, however large the file: here 24 times the largest tensor."""
    largest = 16 * MIB
    source = tmp_path / "x.safetensors"
    shape = [1024, largest // 1024 // 36, 3, 3]
    nbytes = int(np.prod(shape)) * 4
    header = {
        f"{i}.weight": {"dtype": "F32", "shape": shape, "data_offsets": [i * nbytes, (i + 1) * nbytes]}
        for i in range(24)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with source.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 24 * nbytes)  # a hole, that reads as zeros
    command = [sys.executable, "-c", PEAK, "convert", str(source), str(tmp_path / "y.safetensors"), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert int(result.stdout.split()[-1]) * 1024 <= largest + 200 * MIB


LONG = "\x1b[31m\n\u202e\ud800" + "z" * 3000
LINES = {
    "a command": [LONG],
    "an option": ["inspect", f"--{LONG}"],
    "a value": ["inspect", "x.npz", "--from", LONG],
    "a path": ["inspect", LONG],
    "a path with a name of its own": ["inspect", "/".join(["\n" * 100] * 9)],
    "a target": ["convert", "x.npz", f"{LONG}.npz"],
    "a suffix": ["convert", "x.npz", f"y.{LONG}"],
    "a prefix": ["convert", "x.npz", "y.npz", "--prefix", LONG],
    "a dialect": ["convert", "x.npz", "y.npz", "--dialect", LONG],
    "a record": ["report", LONG],
    "a case": ["run", "--case", LONG],
    "a port": ["port", f"{LONG}.py:make"],
}


@pytest.mark.parametrize("arguments", LINES.values(), ids=LINES)
def test_one_line_of_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", **{"a.running_mean": np.zeros(2)})
    monkeypatch.setattr(sys, "argv", ["parity", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("parity: ")
    assert line.endswith("\n")
    assert len(line) <= 301
    assert line[:-1].isprintable()


def test_the_line_keeps_what_is_wrong_and_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _end(f"x.pt: is wrong {'z' * 5000}; save it again", 2)
    line = capsys.readouterr().err
    assert line.startswith("parity: x.pt: is wrong zzz")
    assert line.endswith("zzz; save it again\n")
    assert len(line) == 301
