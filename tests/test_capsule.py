"""A capsule is answered by a process that has one framework alone, and judged like a local run, to the last digit."""

import json
import os
import subprocess
import sys

import pytest
from commands import ROOT, parity
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_interpreters import link_environment

from parity.errors import ParityError
from parity.frameworks import FRAMEWORKS
from parity.runs import capsule as capsules
from parity.runs import record_file as records

ASKED = ("--case", "CBAM/1x1", "--check", "forward,gradients,batch")
KEY = "attention-parity capsule"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capsule")
    done = parity("capsule", *ASKED, "-o", "all.capsule", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def answer(python, *arguments, cwd):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [python, "-m", "parity", "answer", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def answers(folder):
    """The answers of processes that have one framework each, and no Typer."""
    said = {}
    for name in FRAMEWORKS:
        python = link_environment(folder / name, name)
        said[name] = answer(str(python), "all.capsule", cwd=folder)
    return said


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_environment_with_one_framework_answers(answers, folder, name):
    assert answers[name].returncode == 0, answers[name].stdout + answers[name].stderr
    assert answers[name].stdout.startswith(f"{name} on cpu (")
    assert f"all the same: 10 checks; send back all-{name}.record" in answers[name].stdout
    (outcome,) = records.read(folder / f"all-{name}.record").outcomes
    assert outcome.framework == name
    assert all(outcome.facts[fact] for fact in ("versions", "switches", "precision_probe", "device", "python"))


def test_answers_are_judged_like_local_runs_to_the_last_digit(answers, folder):
    paths = [f"all-{name}.record" for name in FRAMEWORKS]
    assert parity("compare", *paths, "--json", "judged.json", cwd=folder).returncode == 0
    found = json.loads((folder / "judged.json").read_text())["results"]
    for name in FRAMEWORKS:  # one at a time: beside others PyTorch gets fewer threads, and adds in another order
        done = parity("run", *ASKED, "--framework", name, "--json", str(folder / f"{name}.json"))
        assert done.returncode == 0, done.stdout
        local = json.loads((folder / f"{name}.json").read_text())["results"]
        assert [row for row in found if row["framework"] == name] == local


def test_what_a_capsule_expects_is_what_the_reference_does_to_the_last_bit(folder):
    capsule = capsules.read(folder / "all.capsule")
    again = capsules.make(capsule.planned)
    assert capsule.expectations.keys() == again.expectations.keys()
    for key, expected in again.expectations.items():
        found = capsule.expectations[key]
        assert (found.noise, found.undetermined) == (expected.noise, expected.undetermined)
        assert {name: array.tobytes() for name, array in found.arrays.items()} == {
            name: array.tobytes() for name, array in expected.arrays.items()
        }


def test_an_answer_that_differs_is_exit_1_there_and_then(folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'parity.workers.worker' in sys.orig_argv:\n"
        "    import torch_impl.cbam as se\n    se.mean_hw = lambda x: x.amax((2, 3), keepdim=True) * 1.001\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = parity("answer", str(folder / "all.capsule"), "--framework", "torch", "-o", str(tmp_path / "r"), env=env)
    assert done.returncode == 1, done.stderr
    assert "FAILED CBAM/1x1 in torch, float64, forward eval: output is off by" in done.stdout
    assert records.read(tmp_path / "r").outcomes


def changed(source, target, change):
    """A copy whose second manifest and arrays `change` has edited, with a digest that fits again."""
    with safe_open(source, "np") as file:
        metadata = file.metadata()
    manifest, arrays = json.loads(metadata[KEY]), load_file(source)
    manifest.pop("digest")
    change(manifest, arrays)
    text = json.dumps({**manifest, "digest": records.sign(manifest)})
    save_file(arrays, target, {**metadata, KEY: text})
    return target


def first_array(arrays):
    return next(name for name in sorted(arrays) if name.startswith("expected|"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, a: a.update({first_array(a): a[first_array(a)] + 1}), "is not what its manifest says"),
        (lambda m, a: a.update({first_array(a): a[first_array(a)] * float("nan")}), "must be finite float64"),
        (lambda m, a: a.pop(first_array(a)), "must have the same names"),
        (lambda m, a: a.update({"expected|99999|output": a[first_array(a)]}), "nothing is expected of"),
        (lambda m, a: m["expected"].pop(), "arrays that nothing is expected of"),
        (lambda m, a: m["limits"].update({"noise units": 5000.0}), "its limits are not those of this version"),
        (lambda m, a: m.update(version=1, expected=[]), "must be a capsule of version 3, got 1: make it anew"),
        (lambda m, a: m["expected"][0].update(case="SE/none"), "what is expected is not what is asked"),
        (lambda m, a: m["expected"][0]["noise"][""].update(output="much"), "must be a list"),
    ],
)
def test_a_capsule_that_was_changed_is_refused_by_name(folder, tmp_path, change, words):
    path = changed(folder / "all.capsule", tmp_path / "bad.capsule", change)
    with pytest.raises(ParityError, match=words) as caught:
        capsules.read(path)
    assert str(path) in str(caught.value)


def test_a_capsule_whose_second_manifest_was_edited_by_hand_is_refused(folder, tmp_path):
    with safe_open(folder / "all.capsule", "np") as file:
        metadata = file.metadata()
    edited = metadata[KEY].replace('"in_order": false', '"in_order": true', 1)
    save_file(load_file(folder / "all.capsule"), tmp_path / "bad", {**metadata, KEY: edited})
    with pytest.raises(ParityError, match="does not have the digest"):
        capsules.read(tmp_path / "bad")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["answer", "nowhere.capsule"], "nowhere.capsule"),
        (["answer"], "the following arguments are required: file; see `parity answer --help`"),
        (["answer", "--timeout", "soon", "ALL"], "invalid float value: 'soon'"),
        (["answer", "--framework", "caffe", "ALL"], "--framework must be one of torch, paddle, flax, got 'caffe'"),
        (["answer", "--device", "gpu", "--framework", "torch", "ALL"], "torch sees no gpu; it sees cpu"),
        (["answer", "--device", "gqu", "ALL"], "--device must be one of"),
        (["compare", "ALL"], "holds arrays of no run"),
        (["capsule", "--check", "training", "-o", "x"], "--check of a capsule must be forward, gradients, batch"),
        (["answer", "-o", "ALL", "ALL"], "exists"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_exit_2(folder, tmp_path, arguments, words):
    arguments = [str(folder / "all.capsule") if part == "ALL" else part for part in arguments]
    done = parity(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("*.record"))


def test_an_answers_help_needs_no_numpy():
    code = "import sys; sys.modules['numpy'] = sys.modules['typer'] = None; sys.argv = ['parity', 'answer', '--help']; import parity.__main__ as m; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "what `parity capsule` wrote" in done.stdout
