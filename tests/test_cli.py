"""The command line as its user types it."""

import json
import os
import shutil
import site
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
from commands import ROOT, parity
from PIL import Image

from parity.catalogue.cases import CASES
from parity.cli.app import GROUPS, app


def test_a_run_prints_a_table_and_writes_json(tmp_path):
    path = tmp_path / "result.json"
    done = parity("run", "--case", "SE/1x1,CBAM/b*", "--framework", "flax", "--framework", "torch", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "all the same: 2 cases, 16 checks, torch, flax on cpu" in done.stdout
    assert "SE/1x1" in done.stdout
    assert "numpy" in done.stdout
    document = json.loads(path.read_text())
    assert document["passed"] is True
    assert document["environment"].keys() >= {"torch", "flax", "jax", "numpy", "python"}
    keys = ["case", "framework", "device", "dtype", "check", "error", "limit", "unit", "verdict", "passed", "why"]
    assert [list(result) for result in document["results"]] == [keys] * 16


def test_another_image_gives_other_numbers(tmp_path):
    image = tmp_path / "mine.png"
    Image.effect_noise((200, 100), 80).save(image)
    done = [
        parity("run", "--case", "SE/default", "--framework", "torch", *more, "--json", str(tmp_path / f"{i}.json"))
        for i, more in enumerate([(), ("--image", str(image))])
    ]
    assert [process.returncode for process in done] == [0, 0]
    first, second = (json.loads((tmp_path / f"{i}.json").read_text())["results"] for i in range(2))
    assert [result["error"] for result in first] != [result["error"] for result in second]


def test_the_catalogue_is_listed():
    done = parity("list")
    assert done.returncode == 0
    assert all(case.name in done.stdout for case in CASES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--case", "SE/defualt"), "no case matches 'SE/defualt'"),
        (("run", "--framework", "tensorflow"), "framework must be one of torch, paddle, flax, onnx, got 'tensorflow'"),
        (("run", "--dtype", "int8"), "--dtype must be one of float64, float32, bfloat16, float16, got 'int8'"),
        (("run", "--image", "README.md"), "README.md is not an image"),
        (("run", "--image", "missing.jpg"), "missing.jpg is not there"),
        (("run", "--json", "no-such-folder/result.json"), "no-such-folder/result.json cannot be written"),
        (("run", "--json", "tests"), "tests cannot be written"),
        (("run", "--seed", "-1"), "'--seed'"),
        (("run", "--framework", "onnx", "--dtype", "float64", "--case", "SE/1x1"), "nothing to compute"),
        (("run", "--dtype", "float16", "--case", "SE/far"), "float16 does not hold those called far"),
        (("mutants", "--framework", "onnx"), "to plant mutants in"),
        (("run", "--sede", "1"), "No such option: --sede"),
        (("list", "--case", "X*"), "no case matches 'X*'"),
        (("rum",), "No such command 'rum'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_run_is_one_line_and_exit_2(arguments, words):
    done = parity(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Compare the frameworks"),
        (("--help",), "Compare the frameworks"),
        (("run", "-h"), "parity run --case 'CBAM/*' --framework torch,flax --image cat.jpg"),
        (("list", "--help"), "parity list --case 'SE/*'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_teaches(arguments, words):
    done = parity(*arguments)
    assert done.returncode == 0
    assert words in done.stdout


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_every_command_shows_an_example_on_its_own_line(command):
    done = parity(command, "--help")
    assert done.returncode == 0
    assert "\\b" not in done.stdout
    assert any(line.strip().startswith(f"parity {command}") for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def without_paddle(tmp_path_factory):
    """The environment of a Python that has every installed package but Paddle."""
    folder = tmp_path_factory.mktemp("site-packages")
    for packages in site.getsitepackages():
        for path in Path(packages).iterdir():
            if not path.name.startswith("paddle") and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    python = str(Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "PYTHONNOUSERSITE": "1"}
    return python, env


def test_a_framework_asked_for_and_not_installed_is_exit_2(without_paddle):
    python, env = without_paddle
    done = parity("run", "--framework", "paddle", python=python, env=env)
    assert done.returncode == 2
    assert done.stderr == "parity: paddle is not installed; `pip install 'attention-parity[paddle]'` adds it\n"


def test_with_none_named_the_installed_ones_run_and_the_missing_are_said(without_paddle):
    python, env = without_paddle
    done = parity("run", "--case", "SE/1x1", python=python, env=env)
    assert done.returncode == 0, done.stderr
    assert "torch, flax, onnx on cpu" in done.stdout
    assert "not installed, so not run: paddle" in done.stdout


def test_a_difference_is_exit_1_and_says_where(tmp_path):
    """A copy of the project whose Paddle SE multiplies by 1.0001."""
    for folder in ("parity", "torch_impl", "paddle_impl", "flax_impl"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    module = tmp_path / "paddle_impl" / "se.py"
    module.write_text(module.read_text().replace("return x * self.scale(x)", "return x * self.scale(x) * 1.0001"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = parity("run", "--case", "SE/1x1", "--framework", "torch,paddle", cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert "FAILED SE/1x1 in paddle, float64, forward eval: output is off by 0.0001 of the largest value" in done.stdout
    assert "in torch" not in done.stdout


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        # At import no case has begun; in a case the others are judged and kept.
        ("import os; print('last words'); os._exit(7)", 2, "parity: the paddle process ended with code 7: last words;"),
        ("raise RuntimeError('out of order')", 1, "in paddle, float64, forward eval: RuntimeError: out of order"),
        ("import os; os._exit(7)", 1, "in paddle, float64, forward eval: the paddle process ended with code 7"),
    ],
    ids=["dies at import", "raises", "dies in a case"],
)
def test_a_worker_that_dies_or_raises_is_told_from_a_difference(end, code, words, tmp_path):
    for folder in ("parity", "torch_impl", "paddle_impl", "flax_impl"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    if code == 2:
        (tmp_path / "paddle_impl" / "__init__.py").write_text(end)
    else:
        module = tmp_path / "paddle_impl" / "se.py"
        module.write_text(module.read_text().replace("return x * self.scale(x)", end))
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = parity("run", "--case", "SE/1x1", "--framework", "torch,paddle", cwd=tmp_path, env=env)
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "in torch, " not in done.stdout
    assert code == 1 or (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_the_version_is_the_packages():
    done = parity("--version")
    assert (done.returncode, done.stdout) == (0, f"parity {version('attention-parity')}\n")


@pytest.mark.parametrize("columns", [80, 40])
def test_the_list_of_commands_has_whole_sentences_under_headings(columns):
    done = parity("--help", env={**os.environ, "COLUMNS": str(columns)})
    assert done.returncode == 0
    assert all(len(line) <= columns for line in done.stdout.splitlines())
    text = " ".join(done.stdout.split())
    assert "..." not in text.replace("[ARGS]...", "")
    for title, commands in GROUPS.items():
        assert f"{title}:" in text
        for name, path in commands.items():
            module, function = path.split(".")
            docstring = getattr(import_module(f"parity.cli.{module}"), function).__doc__
            assert f" {name} {docstring.partition(chr(10))[0]}" in text


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "40"}, {}]
)
def test_output_is_plain_where_colour_is_not_wanted_and_no_terminal_is_narrow_enough_to_break_it(variables):
    done = parity("list", "--case", "SE/1x1", env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    assert "SE/1x1" in done.stdout
    assert "\x1b[3" not in done.stdout
    if "COLUMNS" in variables:
        assert all(len(line) <= 40 for line in done.stdout.splitlines())


def test_a_matrix_has_a_word_for_every_verdict_and_switches_are_said_when_asked_for(tmp_path):
    path = tmp_path / "result.json"
    options = ("--case", "SE/1x1", "--framework", "torch", "--dtype", "float32")
    done = parity("run", *options, "--matrix", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "SE/1x1" in done.stdout
    assert "ok" in done.stdout
    assert {result["check"].split()[0] for result in json.loads(path.read_text())["results"]} == {
        "forward",
        "gradients",
    }
    assert "NVIDIA_TF32_OVERRIDE" not in done.stdout
    assert json.loads(path.read_text())["environment"]["backends"]["torch"]["switches"]["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "NVIDIA_TF32_OVERRIDE=0" in parity("run", *options, "--verbose").stdout
