"""Each framework in an interpreter of its own, and what is said of a process that does not come to its end.

The environments here are virtual ones into which the packages of this one are linked, each without the other
frameworks and without what only the parent needs: they take a second, where `parity envs` downloads gigabytes. The
full thing is the command in docs/gpu.md.
"""

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, parity

from parity.errors import ParityError
from parity.frameworks import COLUMNS, FRAMEWORKS
from parity.workers import environments, interpreters

OWN = {"torch": ("torch", "functorch"), "paddle": ("paddle",), "flax": ("jax", "flax", "optax", "orbax")}
PARENTS_OWN = ("typer", "matplotlib", "pytest", "_pytest", "hypothesis")
CASE = ("--case", "SE/1x1")


def plain(extra=()):
    """The environment of a user who has no package on a path, but for the folders in `extra`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, extra), str(ROOT)])}


def link_environment(folder, framework):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    others = tuple(name for other in FRAMEWORKS if other != framework for name in OWN[other]) + PARENTS_OWN
    for source in site.getsitepackages():
        for path in Path(source).iterdir():
            if not path.name.startswith(others) and path.suffix != ".pth" and not (packages / path.name).exists():
                (packages / path.name).symlink_to(path)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def pythons(tmp_path_factory):
    """An interpreter for each framework that has no other framework."""
    folder = tmp_path_factory.mktemp("environments")
    return {name: link_environment(folder / name, name) for name in FRAMEWORKS}


def started_with(code, folder):
    """A folder for the path under which each worker runs `code`, which knows the worker's `framework`."""
    text = (
        f"import os, sys\nif 'parity.workers.worker' in sys.orig_argv:\n    framework = sys.orig_argv[-2]\n    {code}\n"
    )
    (folder / "sitecustomize.py").write_text(text)
    return folder


def test_each_environment_has_one_framework(pythons):
    for name, python in pythons.items():
        code = "from importlib.util import find_spec as f; print([n for n in ('torch', 'paddle', 'flax', 'typer') if f(n)])"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=python.parent)
        assert done.stdout.strip() == str([name])


def test_three_environments_give_the_verdicts_of_one(pythons, tmp_path):
    chosen = [part for name, python in pythons.items() for part in ("--python", f"{name}={python}")]
    paths = [tmp_path / "one.json", tmp_path / "three.json"]
    for path, options in zip(paths, ([], chosen), strict=True):
        done = parity("run", "--case", "CBAM/norm", "--json", str(path), *options, env=plain())
        assert done.returncode == 0, done.stdout + done.stderr
    one, three = (json.loads(path.read_text()) for path in paths)
    assert three["results"] == one["results"]
    assert {result["framework"] for result in three["results"]} == set(COLUMNS)


def test_a_configuration_says_the_same_as_the_options(pythons, tmp_path):
    (tmp_path / "link").symlink_to(pythons["torch"].parent.parent)
    (tmp_path / "parity.toml").write_text('[python]\ntorch = "link/bin/python"\n')
    (tmp_path / "pyproject.toml").write_text('[tool.parity.python]\ntorch = "nowhere"\n')
    found = []
    for options, cwd in (((), tmp_path), (("--config", str(tmp_path / "parity.toml")), ROOT)):
        done = parity("doctor", "--framework", "torch", "--json", *options, cwd=cwd, env=plain())
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["backends"]["torch"])
    assert found[0]["interpreter"] == found[1]["interpreter"] == str(tmp_path / "link" / "bin" / "python")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "pyproject.toml",
            '[tool.parity.python]\ntorch = "nowhere"\n',
            "the interpreter nowhere for torch is not there",
        ),
        ("parity.toml", '[python]\njax = "x"\n', "python is for torch, paddle, flax, onnx, got jax"),
        ("parity.toml", '[device]\nflax = "gqu"\n', "--device must be one of"),
        ("parity.toml", "[pythons]\n", "may hold the tables python and device, got pythons"),
        ("parity.toml", "device = 3\n", "device must be a table of text"),
        ("parity.toml", "device = \n", "parity.toml cannot be read as TOML"),
    ],
)
def test_a_configuration_that_is_wrong_is_exit_2(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    done = parity("doctor", cwd=tmp_path, env=plain())
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("torch", "must name a framework"),
        ("jax=/bin/sh", "framework must be one of"),
        ("flax=/nowhere", "is not there"),
    ],
)
def test_an_interpreter_that_is_none_is_refused(value, words):
    with pytest.raises(ParityError, match=words):
        interpreters.parse([value])


def test_an_interpreter_without_the_framework_is_exit_2(pythons):
    done = parity("run", *CASE, "--framework", "torch", "--python", f"torch={pythons['flax']}", env=plain())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"parity: torch, which torch needs, is not installed for {pythons['flax']}\n"


def test_the_worker_needs_nothing_that_only_the_parent_needs():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; import parity.workers.worker, parity.workers.precision_probe, parity.frameworks.devices; print(sorted("
        "{'typer', 'click', 'rich', 'matplotlib', 'PIL', 'torch', 'paddle', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


# In its first case, in which another framework is not disturbed.
IN_A_CASE = "if framework == 'paddle': import parity.workers.work as work; work.run_task = lambda *given: {}"


def test_a_worker_that_is_killed_is_said_and_the_others_kept(tmp_path):
    end = "print('last words of', framework, file=sys.stderr, flush=True) or os.kill(os.getpid(), 9)"
    report = tmp_path / "report.json"
    env = plain([started_with(IN_A_CASE.format(end), tmp_path)])
    done = parity("run", *CASE, "--json", str(report), env=env)
    assert done.returncode == 1
    words = "the paddle process was killed (SIGKILL), as the system does when memory runs out: last words of paddle"
    assert f"in paddle, float64, forward eval: {words}" in done.stdout
    results = json.loads(report.read_text())["results"]
    assert {result["framework"]: result["passed"] for result in results} == {
        "torch": True,
        "paddle": False,
        "flax": True,
        "onnx": True,
    }


def test_a_worker_that_hangs_is_stopped_and_the_others_kept(tmp_path):
    end = "print('waiting', file=sys.stderr, flush=True) or __import__('time').sleep(600)"
    env = plain([started_with(IN_A_CASE.format(end), tmp_path)])
    done = parity("run", *CASE, "--framework", "paddle,torch", "--timeout", "12", env=env)
    assert done.returncode == 1
    assert "the paddle process said nothing for 12 seconds (--timeout) and was stopped: waiting" in done.stdout
    assert "FAILED SE/1x1 in torch" not in done.stdout


def test_the_commands_for_a_gpu_are_shown_and_not_run(tmp_path):
    done = parity("envs", str(tmp_path / "new"), "--device", "gpu", env=plain())
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "new").exists()
    pins = environments.constraints().read_text()
    (version,) = [line.partition("==")[2] for line in pins.splitlines() if line.startswith("paddlepaddle==")]
    assert f"paddlepaddle-gpu=={version} -i " in done.stdout
    assert "'jax[cuda13]' flax" in done.stdout
    assert done.stdout.count(f"--constraint {environments.constraints()}") == 6


def test_environments_are_made_by_the_commands_shown_and_named_in_a_file(tmp_path, monkeypatch):
    """The commands run; only what pip would download is left out, with a virtual environment of nothing."""
    monkeypatch.setattr(environments, "WORKER", ())
    shown = []
    todo = environments.commands(tmp_path, "torch", "cpu")[:1]
    environments.make(todo, shown.append)
    assert shown == todo
    path = environments.write_config(tmp_path, ["torch"], "cpu")
    from parity.workers import config

    assert config.read(path).python == {"torch": str(tmp_path / "torch" / "bin" / "python")}
    with pytest.raises(ParityError, match="ended with code"):
        environments.make([[sys.executable, "-c", "raise SystemExit(3)"]], shown.append)
