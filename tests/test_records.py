"""Plans and records: made apart, judged together, and refused by name where anything is not as it was written."""

import json
import random
import shutil
from pathlib import Path

import fuzz_records
import numpy as np
import pytest
from commands import parity
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from parity.errors import ParityError
from parity.runs import record as recording
from parity.runs import record_file as records

CASES = "SE/1x1,CBAM/1x1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan, the records that two processes made of it, and one of another seed."""
    folder = tmp_path_factory.mktemp("records")
    commands = [
        ("plan", "--case", CASES, "--check", "forward,gradients", "-o", "all.plan"),
        ("record", "--plan", "all.plan", "--framework", "torch", "-o", "torch.record"),
        ("record", "--plan", "all.plan", "--framework", "flax", "-o", "flax.record"),
        (
            "record",
            "--case",
            CASES,
            "--check",
            "forward,gradients",
            "--seed",
            "1",
            "--framework",
            "flax",
            "-o",
            "seed.record",
        ),
    ]
    for command in commands:
        done = parity(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def manifest_of(path):
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["attention-parity"])


def rewrite(source, target, change):
    """A copy whose manifest and arrays `change` has edited, with a digest that fits again."""
    manifest, arrays = manifest_of(source), load_file(source)
    manifest.pop("digest")
    change(manifest, arrays)
    manifest["digest"] = records.sign(manifest)
    save_file(arrays, target, {"attention-parity": json.dumps(manifest)})
    return target


def test_records_of_two_processes_are_judged_together(folder, tmp_path):
    path = tmp_path / "result.json"
    done = parity("compare", "torch.record", "flax.record", "--json", str(path), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "all the same: 2 cases, 32 checks, torch, flax on cpu" in done.stdout
    assert "torch ~ flax in float64: the same" in done.stdout
    document = json.loads(path.read_text())
    assert {result["framework"] for result in document["results"]} == {"torch", "flax", "torch ~ flax"}
    assert document["environment"]["backends"]["torch"]["device"]["id"] == "cpu"


def test_a_record_says_what_made_it_and_its_verdicts_are_those_of_a_run(folder, tmp_path):
    manifest = manifest_of(folder / "torch.record")
    (run,) = manifest["runs"]
    assert run["made"].startswith("20")
    assert run["facts"].keys() >= {"versions", "device", "switches", "precision_probe", "precisions", "python"}
    assert manifest["inputs"] == manifest_of(folder / "all.plan")["inputs"]
    paths = [tmp_path / "compared.json", tmp_path / "run.json"]
    assert parity("compare", "torch.record", "--json", str(paths[0]), cwd=folder).returncode == 0
    options = ("--case", CASES, "--check", "forward,gradients", "--framework", "torch")
    assert parity("run", *options, "--json", str(paths[1])).returncode == 0
    first, second = (json.loads(path.read_text())["results"] for path in paths)
    assert first == second


def test_two_records_of_one_framework_are_told_apart_by_their_files(folder, tmp_path):
    shutil.copy(folder / "torch.record", tmp_path / "second.record")
    done = parity("compare", str(folder / "torch.record"), str(tmp_path / "second.record"))
    assert done.returncode == 0, done.stderr
    assert "torch (torch) ~ torch (second) in float32: the same, 0 apart" in done.stdout


def test_a_record_that_differs_is_exit_1_and_named(folder, tmp_path):
    def shift(manifest, arrays):
        name = next(name for name in arrays if name.startswith("0|CBAM/1x1|float32|forward train|output"))
        arrays[name] = arrays[name] + np.float32(1e-3)
        manifest["runs"][0]["results"] = records._by_task(
            {name.partition("|")[2]: array for name, array in arrays.items() if name.startswith("0|")}
        )

    path = rewrite(folder / "flax.record", tmp_path / "shifted.record", shift)
    done = parity("compare", str(folder / "torch.record"), str(path))
    assert done.returncode == 1
    assert "FAILED CBAM/1x1 in flax, float32, forward train: output is off by" in done.stdout
    assert "FAILED CBAM/1x1 in torch ~ flax, float32, forward train: output is off by" in done.stdout
    assert "in torch, " not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("torch.record", "seed.record"),
            "torch.record and seed.record cannot be compared, they differ in seed: 0 here, 1 there",
        ),
        (("torch.record", "all.plan"), "all.plan is a plan and no record"),
        (("torch.record", "torch.record"), "a file is named twice"),
        (("torch.record", "missing.record"), "missing.record: cannot be opened"),
        (("README.md",), "README.md: "),
    ],
)
def test_what_cannot_be_compared_is_exit_2_in_one_line(folder, arguments, words):
    (folder / "README.md").write_text("# not a record\n")
    done = parity("compare", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_flipped_bit_is_refused(folder, tmp_path):
    data = (folder / "torch.record").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = random.Random(0)
    places = [*range(8), *rng.choices(range(8, header), k=150), *rng.choices(range(header, len(data)), k=150)]
    path = tmp_path / "flipped.record"
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ParityError, match=r"flipped\.record"):
            records.read(path)


def test_a_flipped_bit_of_a_result_is_refused_by_the_results_name(folder, tmp_path):
    data = bytearray((folder / "torch.record").read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped.record").write_bytes(data)
    with pytest.raises(ParityError, match=r"flipped\.record: (SE|CBAM)/1x1\|.* is not what its manifest says"):
        records.read(tmp_path / "flipped.record")


def test_a_truncated_file_is_refused(folder, tmp_path):
    data = (folder / "torch.record").read_bytes()
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "short.record").write_bytes(data[:length])
        with pytest.raises(ParityError, match=r"short\.record"):
            records.read(tmp_path / "short.record")


def test_an_edited_manifest_is_refused(folder, tmp_path):
    manifest, arrays = manifest_of(folder / "torch.record"), load_file(folder / "torch.record")
    manifest["runs"][0]["facts"]["device"]["id"] = "cuda:0"
    save_file(arrays, tmp_path / "edited.record", {"attention-parity": json.dumps(manifest)})
    with pytest.raises(ParityError, match=r"edited\.record: its manifest was edited or damaged"):
        records.read(tmp_path / "edited.record")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, a: m["cases"][0].update(shape=[1, 1, 1, 1]), "the case SE/1x1 is another in this catalogue: shape"),
        (lambda m, a: m["cases"][0].update(name="SE/new"), "the case 'SE/new' is not in this catalogue"),
        (lambda m, a: m.update(version=2), "its manifest must be of version 1"),
        (lambda m, a: m.pop("seed"), "its manifest has no seed"),
        (lambda m, a: m.update(runs=7), "its manifest.runs must be a list, got 7"),
        (lambda m, a: m.update(inputs=[]), "its manifest.inputs must be a table, got []"),
        (lambda m, a: m.update(seed=10**400), "its manifest.seed must be a whole number from 0 to 9223372036854775807"),
        (lambda m, a: m.update(seed=True), "its manifest.seed must be a whole number"),
        (
            lambda m, a: m.update(checks=["forward", "onward"]),
            "must be one of forward, gradients, training, batch, got 'onward'",
        ),
        (lambda m, a: m.update(dtypes=["float64", "float8"]), "its manifest.dtypes[1] must be one of float64"),
        (
            lambda m, a: m.update(dtypes=["float64"] * 2),
            "its dtypes must be at least one, each once, got float64, float64",
        ),
        (lambda m, a: m.update(cases=[]), "its cases must be at least one, each once"),
        (lambda m, a: m["cases"][0].update(new=1), "the case SE/1x1 is another in this catalogue: new differ"),
        (
            lambda m, a: m["runs"].append(m["runs"][0]),
            "its frameworks must be at least one, each once, got torch, torch",
        ),
        (
            lambda m, a: m["runs"][0].update(errors=[["SE/1x1", "int8|forward eval", ""]]),
            "it holds an error of no task",
        ),
        (lambda m, a: m["runs"][0].update(errors=[["SE/1x1"]]), "it holds an error of no task"),
        (lambda m, a: m["runs"][0].update(made="today"), "its manifest.runs[0].made must be text like"),
        (lambda m, a: a.update({"5|x": a["inputs|SE/1x1|input"]}), "it holds arrays of no run: 5|x"),
        (lambda m, a: a.update({"0|x|y": a["inputs|SE/1x1|input"]}), "it holds arrays of no task: x"),
        (lambda m, a: a.pop("inputs|SE/1x1|input"), "SE/1x1|input is not what its manifest says"),
        (lambda m, a: m["runs"][0].update(framework="tensorflow"), "framework must be one of torch, paddle, flax"),
        (lambda m, a: m["runs"][0].update(facts={}), "its manifest.runs[0].facts has no "),
        (
            lambda m, a: m["runs"][0]["facts"]["device"].update(id="abacus"),
            "facts.device.id must be text like (cpu|cuda",
        ),
        (lambda m, a: m["runs"][0]["facts"].update(switches={"x": float("nan")}), "switches.x must be text, got nan"),
        (
            lambda m, a: m["runs"][0]["facts"]["precision_probe"].update(x=10**400),
            "precision_probe.x must be a finite number, got 1000",
        ),
        (lambda m, a: m["runs"][0]["facts"].update(device=1), "facts.device must be a table, got 1"),
        (
            lambda m, a: m["runs"][0]["facts"]["precision_probe"].update(x="1"),
            "precision_probe.x must be a finite number, got '1'",
        ),
        (lambda m, a: m["runs"][0]["notes"].append("\x1b[2J"), "text that cannot be printed"),
    ],
)
def test_a_strangers_record_is_refused_in_one_line(folder, tmp_path, change, words):
    path = rewrite(folder / "torch.record", tmp_path / "strange.record", change)
    with pytest.raises(ParityError) as error:
        records.read(path)
    assert words in str(error.value)
    assert "strange.record" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_whose_probe_measured_tf32_is_refused(folder, tmp_path):
    def lower(manifest, arrays):
        probes = manifest["runs"][0]["facts"]["precision_probe"]
        probes[next(iter(probes))] = 1e3

    path = rewrite(folder / "torch.record", tmp_path / "low.record", lower)
    done = parity("compare", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "low.record: TF32 (or lower) is on in torch: mkldnn.conv" in done.stderr


@pytest.mark.parametrize("name", [None, "mkldnn.matmul forward", "mkldnn.conv gradient of the second factor"])
def test_without_a_precision_probe_there_is_no_verdict(folder, tmp_path, name):
    def remove(manifest, arrays):
        probes = manifest["runs"][0]["facts"]["precision_probe"]
        for probe in list(probes) if name is None else [name]:
            probes.pop(probe)

    path = rewrite(folder / "torch.record", tmp_path / "unmeasured.record", remove)
    done = parity("compare", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "unmeasured.record: the arithmetic of torch was not measured" in done.stderr


def test_a_record_of_nothing_is_no_pass(folder, tmp_path):
    def untrain(manifest, arrays):
        manifest["checks"] = ["training"]
        for name in [name for name in arrays if name.startswith("0|")]:
            arrays.pop(name)
        manifest["runs"][0]["results"] = {}

    path = rewrite(folder / "torch.record", tmp_path / "nothing.record", untrain)
    done = parity("compare", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds nothing to judge" in done.stderr


def test_edited_records_get_a_verdict_or_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "expect_all", fuzz_records.remember(recording.expect_all))
    good = fuzz_records.reduce(fuzz_records.load(folder / "torch.record"), "SE/1x1", "forward")
    fuzz_records.write(tmp_path / "other.record", *good)
    judged = fuzz_records.fuzz([good], tmp_path / "other.record", tmp_path, 3000, seed=0)
    # Most edits are refused, and those of results or of a note are judged.
    assert 300 < judged < 1500


def test_missing_results_and_other_shapes_are_a_difference_and_no_crash(folder, tmp_path):
    def remove(manifest, arrays):
        for name in [name for name in arrays if "float64|forward eval" in name]:
            arrays.pop(name)
        for name in [name for name in arrays if "float32|forward eval|output" in name]:
            arrays[name] = arrays[name][:1]
        manifest["runs"][0]["results"] = records._by_task(
            {name.partition("|")[2]: array for name, array in arrays.items() if name.startswith("0|")}
        )

    path = rewrite(folder / "torch.record", tmp_path / "less.record", remove)
    done = parity("compare", str(path), str(folder / "flax.record"))
    assert done.returncode == 1, done.stderr
    assert "FAILED SE/1x1 in torch, float64, forward eval: missing" in done.stdout
    assert "output must have shape" in done.stdout


def test_a_file_is_not_replaced_unless_it_is_asked_for(folder):
    before = Path(folder / "all.plan").read_bytes()
    done = parity("plan", "--case", "SE/1x1", "-o", "all.plan", cwd=folder)
    assert done.returncode == 2
    assert "all.plan exists; give --force" in done.stderr
    assert (folder / "all.plan").read_bytes() == before
