"""What `parity port` writes: a page, JSON, JUnit XML, text, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from html_page import Page
from test_port import ORIGINAL, write

ROOT = Path(__file__).parent.parent
FILES = ("--html", "page.html", "--json", "report.json", "--junit", "junit.xml")


def run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "parity", "port", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module", params=["same", "differs"])
def done(request, tmp_path_factory):
    """A port compared with every report written; `folder` holds them."""
    folder = tmp_path_factory.mktemp(request.param)
    edit = [] if request.param == "same" else [("3, 2, 1)", "3, 2, 1, padding_mode='circular')")]
    write(folder, "net.py", ORIGINAL)
    write(folder, "port.py", ORIGINAL, *edit)
    process = run(folder, "net.py:build", "port.py:build", "--shape", "2,3,8,8", "--check", "eval", *FILES)
    process.folder, process.differs = folder, bool(edit)
    return process


def test_the_exit_code_is_0_for_the_same_and_1_for_a_difference(done):
    assert done.returncode == done.differs, done.stderr


def test_the_page_shows_every_layer_measured_in_noise_units_with_maps_forward_and_backward(done):
    page = Page((done.folder / "page.html").read_bytes())
    assert page.faults == []
    nodes = {node["path"]: node for node in page.data["nodes"]}
    assert set(nodes) == {
        "", "stem", "stem.0", "stem.1", "blocks", "head",
        *(f"blocks.{i}{part}" for i in range(2) for part in ("", ".conv", ".norm")),
    }  # fmt: skip
    for path in nodes.keys() - {"blocks"}:
        node = nodes[path]
        assert all(amount for amounts in node["amounts"] for amount in amounts), path
        assert {"eval float64 forward", "eval float64 backward"} <= set(node["pictures"]), path
        assert any(picture["unit"] == "noise RMS" for picture in node["pictures"].values()), path
    words = [each["pictures"] for each in page.data["views"]]
    assert words == (["eval float64"] * 2 if done.differs else ["eval float32", "eval float64"])
    differing = {path for path, node in nodes.items() if node["amounts"][0][0] and node["amounts"][0][0][2]}
    assert differing == ({"stem.0"} if done.differs else set())
    if not done.differs:
        # Honest float32 is some rounding: neither nothing, nor more than the limit.
        assert 0 < float(nodes[""]["amounts"][0][0][0]) < 5


def test_the_json_has_no_pixels_but_the_worst_elements(done):
    document = json.loads((done.folder / "report.json").read_text())
    assert document["passed"] is not done.differs
    picture = document["layers"]["eval"][-1]["pictures"]["float64 forward"]
    assert "pixels" not in picture
    assert len(picture["index"]) == len(picture["shape"])
