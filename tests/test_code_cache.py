"""Code that JAX compiled in one run serves the next, and a cache that is damaged, foreign or missing costs time alone."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, parity

from parity.workers import code_cache
from parity.workers.code_cache import CodeCache

FACTS = {"versions": {"jax": "1"}, "switches": {"a": "b"}, "device": {"id": "cpu"}}


def keep(base, folder, **entries):
    """A cache file at `base` that holds the entries; as a run would make it."""
    cache = CodeCache.open(base, folder, FACTS)
    for name, content in entries.items():
        (folder / name).write_bytes(content)
    cache.close()
    return cache.file


def found(base, folder, facts=FACTS):
    """The files that a run finds."""
    cache = CodeCache.open(base, folder, facts)
    return {name: (folder / name).read_bytes() for name in cache.unpacked}


def test_what_one_run_kept_the_next_one_finds_and_adds_to(tmp_path):
    file = keep(tmp_path / "base", tmp_path / "one", a=b"1", b=b"")
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert found(tmp_path / "base", tmp_path / "two") == {"a": b"1", "b": b""}
    assert keep(tmp_path / "base", tmp_path / "three", c=b"3") == file
    assert found(tmp_path / "base", tmp_path / "four") == {"a": b"1", "b": b"", "c": b"3"}
    assert list((tmp_path / "base").iterdir()) == [file]


@pytest.mark.parametrize("part", FACTS)
def test_other_versions_switches_and_devices_have_files_of_their_own(part, tmp_path):
    keep(tmp_path / "base", tmp_path / "one", a=b"1")
    assert found(tmp_path / "base", tmp_path / "two", {**FACTS, part: {"other": "x"}}) == {}


@pytest.mark.parametrize("what", ["XLA_FLAGS", "processor", "cores"])
def test_other_flags_and_processors_have_files_of_their_own(what, tmp_path, monkeypatch):
    keep(tmp_path / "base", tmp_path / "one", a=b"1")
    if what == "processor":
        monkeypatch.setattr(code_cache, "_processor", lambda: ["flags: another"])
    elif what == "cores":
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(333))
    else:
        monkeypatch.setenv(what, "--xla_cpu_enable_fast_math=true")
    assert found(tmp_path / "base", tmp_path / "two") == {}


def test_of_a_damaged_file_nothing_is_used_and_it_is_made_anew(tmp_path):
    file = keep(tmp_path / "base", tmp_path / "one", a=bytes(range(200)))
    good = file.read_bytes()
    for i, place in enumerate(np.linspace(0, len(good) - 1, 40).astype(int)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert found(tmp_path / "base", tmp_path / f"flipped{i}") == {}
        file.write_bytes(good[:place])
        assert found(tmp_path / "base", tmp_path / f"cut{i}") == {}
    assert keep(tmp_path / "base", tmp_path / "new", b=b"2") == file
    assert found(tmp_path / "base", tmp_path / "last") == {"b": b"2"}


def test_a_name_that_would_lead_out_of_the_folder_is_not_unpacked(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    monkeypatch.setattr(
        code_cache, "save", lambda entries: plain({f"../{name}": entry for name, entry in entries.items()})
    )
    from safetensors.numpy import save as plain

    keep(tmp_path / "base", tmp_path / "one" / "x", a=b"1")
    (tmp_path / "two").mkdir()
    assert found(tmp_path / "base", tmp_path / "two" / "x") == {}
    assert list((tmp_path / "two").iterdir()) == [tmp_path / "two" / "x"]


def test_a_file_that_would_become_too_large_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(code_cache, "MOST_BYTES", 1000)
    keep(tmp_path / "base", tmp_path / "one", a=bytes(600))
    keep(tmp_path / "base", tmp_path / "two", b=bytes(600))
    assert list(found(tmp_path / "base", tmp_path / "three")) == ["b"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "base").write_text("a file of the user's")
    keep(tmp_path / "base", tmp_path / "one", a=b"1")
    assert (tmp_path / "base").read_text() == "a file of the user's"


def test_a_second_run_compiles_nothing_and_gives_the_same_numbers(tmp_path):
    """And one without the cache too; the user's other files are let alone."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    mine = tmp_path / "cache" / "attention-parity" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    results, files = [], []
    for options in (("--no-cache",), (), ()):
        path = tmp_path / "result.json"
        done = parity("run", "--case", "SE/1x1", "--framework", "flax", "--json", str(path), *options, env=env)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(path.read_text())["results"])
        files.append([(file.name, file.stat().st_mtime_ns) for file in sorted(Path(mine.parent).iterdir())])
    assert results[0] == results[1] == results[2]
    assert [len(found) for found in files] == [1, 2, 2]
    # A run that compiled anything would have packed it too.
    assert files[1] == files[2]
