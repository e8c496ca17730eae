"""Executables in a capsule: packed for a processor, run elsewhere where that is asked for, and refused where they do not fit.

For GPUs that are not here they are packed and looked at; nothing of them can be loaded.
"""

import json
import os
import pickle

import pytest
from commands import ROOT, parity
from test_capsule import answer, changed
from test_interpreters import link_environment
from test_lower import ENVIRONMENT, INSTALLED

from parity.catalogue import cases
from parity.errors import ParityError
from parity.frameworks import flax as adapter
from parity.frameworks import flax_program
from parity.lower import targets
from parity.runs import capsule as capsules
from parity.runs import record_file as records
from parity.runs.executables import describe
from parity.workers.executables import CODE

# Three programs with two modes each, in float32: the first two cases have one together.
NAMES = ("SE/default", "SE/normal", "SpatialAttention/norm", "CBAM/1x1")
ASKED = ("--case", ",".join(NAMES), "--check", "forward,gradients", "--dtype", "float32")
CHECKS = 2 * 2 * len(NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    done = parity("capsule", *ASKED, "--compiled", "cpu", "-o", "cpu.capsule", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("6 executables for cpu: 0.")
    return folder


@pytest.fixture(scope="module")
def flax(folder):
    """An interpreter that has Flax, and neither Typer nor another framework."""
    return str(link_environment(folder / "flax", "flax"))


def judged(record, cwd):
    """The lines of `parity compare` on the packed programs against the compiled ones."""
    done = parity("compare", record, "--json", "judged.json", cwd=cwd)
    rows = json.loads((cwd / "judged.json").read_text())["results"]
    return done, [row for row in rows if row["framework"] == "flax ~ compiled"]


def test_a_separate_process_runs_them_and_they_give_what_it_compiles_itself(folder, flax):
    done = answer(flax, "cpu.capsule", "--run-compiled", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    line = f"flax, executables of the capsule and compiled here: bit for bit the same in {CHECKS} of {CHECKS} checks"
    assert line in done.stdout.splitlines()
    # Each check eagerly, compiled there, and by the executable.
    assert f"all the same: {3 * CHECKS} checks" in done.stdout
    compared, rows = judged("cpu-flax.record", folder)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert line in compared.stdout.splitlines()
    assert len(rows) == CHECKS
    assert {row["case"] for row in rows} == set(NAMES)
    assert {row["why"] for row in rows} == {"bit for bit the same"}


def test_they_are_plain_bytes_and_say_what_they_take_and_give(folder):
    capsule = capsules.read(folder / "cpu.capsule")
    assert [(each.case, each.mode) for each in capsule.executables] == [
        (name, mode) for name in NAMES if name != "SE/normal" for mode in ("eval", "train")
    ]
    for each in capsule.executables:
        (case,) = cases.select([each.case])
        assert {"arguments": each.arguments, "results": each.results} == describe(
            case, capsule.planned.drawn[each.case]
        )
        assert each.made.keys() == {"platform", "capability", "jax", "jaxlib"}
        assert not each.code.startswith(pickle.PROTO)
    moved = capsule.executables[3]
    assert [each["name"] for each in moved.results][:3] == ["output", "moved|norm.mean", "moved|norm.var"]


def test_what_the_compilers_cache_holds_is_not_packed(tmp_path):
    """From JAX's cache XLA loads a program for a processor without functions that it has once it is compiled."""
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    asked = ("--case", "CBAM/options", "--check", "forward", "--dtype", "float32", "--compiled", "cpu")
    for name in ("first", "second"):
        assert parity("capsule", *asked, "-o", f"{name}.capsule", cwd=tmp_path, env=env).returncode == 0
    done = parity("answer", "second.capsule", "--framework", "flax", "--run-compiled", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit for bit the same in 2 of 2 checks" in done.stdout


def repacked(source, target, change):
    """A copy whose entries and bytes of executables `change` has edited, with digests that fit again."""

    def edit(manifest, arrays):
        entries = manifest["executables"]
        codes = [arrays[f"{CODE}|{entry['digest']}"] for entry in entries]
        change(entries, codes)
        for name in [name for name in arrays if name.startswith(f"{CODE}|")]:
            del arrays[name]
        for entry, code in zip(entries, codes, strict=False):
            entry["digest"] = records.digest(code)
            arrays[f"{CODE}|{entry['digest']}"] = code

    return changed(source, target, edit)


def crafted(codes, content):
    codes[0] = codes[0][: len(content)].copy()
    codes[0][:] = list(content)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda e, c: crafted(c, c[0][: len(c[0]) // 2].tobytes()),
            "the executable of SE/default eval cannot be loaded: ",
        ),
        (lambda e, c: crafted(c, b"junk"), "the executable of SE/default eval cannot be loaded: "),
        (lambda e, c: crafted(c, pickle.dumps(Bomb())), "the executable of SE/default eval cannot be loaded: "),
        # Another case's program, which takes and gives other arrays.
        (lambda e, c: c.__setitem__(0, c[2]), "the executable of SE/default eval must take f32[2], but its text has "),
        (lambda e, c: [x["made"].update(jaxlib="0.0.1") for x in e], "were compiled by jaxlib 0.0.1, here is jaxlib "),
        (
            lambda e, c: [x["made"].update(capability="0") for x in e],
            "the executables are for cpu 0, this machine is cpu ",
        ),
        (
            lambda e, c: [x["made"].update(platform="cuda", capability="9.0") for x in e],
            "are for cuda 9.0, this machine is cpu",
        ),
    ],
)
def test_one_that_cannot_run_here_is_one_line_and_exit_2_and_nothing_ran(folder, tmp_path, change, words):
    repacked(folder / "cpu.capsule", tmp_path / "bad.capsule", change)
    done = parity("answer", "bad.capsule", "--framework", "flax", "--run-compiled", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.capsule"]


def test_nothing_of_them_is_looked_at_where_nobody_asks(folder, tmp_path):
    repacked(folder / "cpu.capsule", tmp_path / "bad.capsule", lambda e, c: crafted(c, pickle.dumps(Bomb())))
    done = parity("answer", "bad.capsule", "--framework", "flax", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"all the same: {CHECKS} checks" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad-flax.record", "bad.capsule"]


def first_code(arrays):
    return next(name for name in sorted(arrays) if name.startswith(f"{CODE}|"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, a: a.update({first_code(a): a[first_code(a)][:-1]}), "damaged, cut short or exchanged"),
        (lambda m, a: a.update({first_code(a): a[first_code(a)].astype("float32")}), "damaged, cut short or exchanged"),
        (lambda m, a: a.pop(first_code(a)), "damaged, cut short or exchanged"),
        (lambda m, a: a.update({f"{CODE}|more": a[first_code(a)]}), "it holds bytes of no executable: more"),
        (lambda m, a: m["executables"].append(m["executables"][0]), "is there twice"),
        (lambda m, a: m["executables"][2].update(case="SE/none"), "of no case of it"),
        (lambda m, a: m["executables"][0].update(case="SE/normal"), "is missing, or of a case that has another's"),
        (lambda m, a: m["executables"][0].update(mode="test"), "must be one of eval, train"),
        (lambda m, a: m["executables"][0].update(target="t4"), "must be one of h100, a100, b200, cpu"),
        (lambda m, a: m["executables"][0]["made"].pop("platform"), "has no platform"),
        (
            lambda m, a: m["executables"][0]["arguments"][1].update(shape=[2**62]),
            "its arguments are not those of the case",
        ),
        (lambda m, a: m["executables"][0]["arguments"][1].update(shape=[2**64]), "must be a whole number"),
        (lambda m, a: m["executables"][0]["arguments"][1].update(shape=[-1]), "must be a whole number"),
        (lambda m, a: m["executables"][0]["results"].pop(), "its results are not those of the case"),
        (lambda m, a: m["executables"][0]["results"].reverse(), "its results are not those of the case"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_before_anything_runs(folder, tmp_path, change, words):
    path = changed(folder / "cpu.capsule", tmp_path / "bad.capsule", change)
    with pytest.raises(ParityError, match=words.replace("|", r"\|")) as caught:
        capsules.read(path)
    assert str(path) in str(caught.value)


def test_an_executable_that_was_cut_with_the_file_is_refused(folder, tmp_path):
    (tmp_path / "cut.capsule").write_bytes((folder / "cpu.capsule").read_bytes()[:-1000])
    done = parity("answer", "cut.capsule", "--framework", "flax", "--run-compiled", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def packed_with(tmp_path, code):
    """A capsule whose programs were compiled where `code` ran first."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nif 'parity.lower.worker' in sys.orig_argv:\n    {code}\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    asked = ("--case", "SE/default", "--check", "forward", "--dtype", "float32", "--compiled", "cpu")
    done = parity("capsule", *asked, "-o", "other.capsule", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    done = parity("answer", "other.capsule", "--framework", "flax", "--run-compiled", cwd=tmp_path)
    return done, *judged("other-flax.record", tmp_path)


def test_one_that_computes_something_else_is_seen_there_and_here(tmp_path):
    code = "import flax_impl.se as se; mean = se.mean_hw; se.mean_hw = lambda x: 1.01 * mean(x)"
    done, compared, rows = packed_with(tmp_path, code)
    assert (done.returncode, compared.returncode) == (1, 1), done.stdout
    for said in (done, compared):
        assert "FAILED SE/default in flax, float32, forward eval packed: output is off by" in said.stdout
        assert (
            "FAILED SE/default in flax ~ compiled, float32, forward eval packed: output: not bit for bit" in said.stdout
        )
        assert "bit for bit the same in 0 of 2 checks; apart, in noise units: SE/default forward" in said.stdout
    assert not any(row["passed"] for row in rows)


def test_one_that_only_rounds_otherwise_is_said_to_be_apart_and_passes(tmp_path):
    code = "import flax_impl.se as se; se.mean_hw = lambda x: x.mean(1, keepdims=True).mean(2, keepdims=True)"
    done, compared, rows = packed_with(tmp_path, code)
    assert (done.returncode, compared.returncode) == (0, 0), done.stdout + done.stderr
    assert all(0 < row["error"] < 3 and row["limit"] > 7 for row in rows)
    assert {row["why"].partition(",")[0] for row in rows} == {"output: not bit for bit the same"}
    assert "apart, in noise units: SE/default forward" in done.stdout


def test_one_that_ends_its_process_takes_nothing_else_with_it(folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'parity.workers.worker' in sys.orig_argv:\n"
        "    import os, parity.frameworks.flax_program as p; p._execute = lambda *_: os.abort()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    asked = (str(folder / "cpu.capsule"), "--framework", "flax", "--run-compiled", "-o", "r.record")
    done = parity("answer", *asked, cwd=tmp_path, env=env)
    assert done.returncode == 1, done.stderr
    assert f"{2 * CHECKS} checks failed: {3 * CHECKS} checks" in done.stdout
    (outcome,) = records.read(tmp_path / "r.record").outcomes
    assert len(outcome.errors) == 2 * CHECKS
    assert all(key.endswith(("packed", "compiled")) for _, key in outcome.errors)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["capsule", "--compiled", "h200", "-o", "x"], "--compiled must be one of h100, a100, b200, cpu, got 'h200'"),
        (["capsule", "--compiled", "cpu", "--dtype", "float64", "-o", "x"], "--compiled is of float32"),
        (["capsule", "--compiled", "cpu", "--check", "batch", "-o", "x"], "--compiled is of forward and gradients"),
        (["capsule", "--compiled", "h100", "--case", "SE/1x1", "-o", "x"], "is not installed for"),
        (["answer", "ALL", "--run-compiled", "--framework", "torch"], "none of the frameworks here has programs"),
        (["answer", "NONE", "--run-compiled", "--framework", "flax"], "this capsule holds no executables"),
    ],
)
def test_what_cannot_be_packed_or_run_is_one_line_and_exit_2(folder, tmp_path, arguments, words):
    repacked(folder / "cpu.capsule", tmp_path / "none.capsule", lambda e, c: (e.clear(), c.clear()))
    places = {"ALL": str(folder / "cpu.capsule"), "NONE": "none.capsule"}
    done = parity(*(places.get(part, part) for part in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_program_that_takes_other_arrays_than_it_says_is_not_packed():
    one, other = (flax_program.both_passes(adapter.build("SE", (c,), {}), (1, 4, 4, c), train=False) for c in (16, 32))
    compiled = flax_program.lower(one.function, flax_program.ask(one))
    assert len(flax_program.pack(one, compiled)) > 1000
    with pytest.raises(ParityError, match=r"must take f32\[2\], but its text has f32\[1\]"):
        flax_program.pack(other, compiled)


@pytest.mark.parametrize("framework", [name for name in INSTALLED if name == "flax"])
def test_those_for_gpus_are_there_and_are_refused_on_a_processor(framework, tmp_path):
    asked = ("--case", "SE/1x1,SpatialAttention/norm", "--check", "forward", "--dtype", "float32")
    made = ("--compiled", ",".join(targets.TARGETS), "--config", str(ENVIRONMENT), "-o", "gpu.capsule")
    done = parity("capsule", *asked, *made, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    capsule = capsules.read(tmp_path / "gpu.capsule")
    found = {(each.target, each.case, each.mode): each for each in capsule.executables}
    assert len(found) == len(capsule.executables) == 3 * 2 * 2
    for (target, name, _), each in found.items():
        (case,) = cases.select([name])
        assert {"arguments": each.arguments, "results": each.results} == describe(case, capsule.planned.drawn[name])
        capability = {"h100": "9.0", "a100": "8.0", "b200": "10.0"}[target]
        assert (each.made["platform"], each.made["capability"]) == ("cuda", capability)
        assert each.made["jax-cuda12-pjrt"] == each.made["jaxlib"]
        assert b"xla.gpu.GpuExecutableProto" in each.code
    for name, mode in {(name, mode) for _, name, mode in found}:
        assert len({found[target, name, mode].code for target in targets.TARGETS}) == 3
    done = parity("answer", "gpu.capsule", "--framework", "flax", "--run-compiled", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the executables are for cuda 9.0 or cuda 8.0 or cuda 10.0, this machine is cpu" in done.stderr
    assert len(done.stderr.splitlines()) == 1
