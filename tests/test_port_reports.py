"""The reports of `parity port`: a page, JSON, JUnit XML, text, and its exit codes."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from html_page import Page
from json_schema import faults
from rich.console import Console
from test_page import EVIL, LAYERS, layer, report
from test_port import ORIGINAL, write

from parity.port.junit import to_junit
from parity.port.report import Check, to_json
from parity.port.text import print_report

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((files("parity.port") / "report.schema.json").read_text())
# Jenkins' junit-10.xsd: what an element may hold, and what it must.
JUNIT = {
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "disabled", "errors"}, set()),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package", "file"},
        {"name", "tests"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, {"name", "value"}),
    "testcase": ({"skipped", "error", "failure"}, {"name", "time", "classname", "group"}, {"name"}),
    "failure": (set(), {"message", "type"}, set()),
}
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
    # The one that differs says it where there is little room and no Unicode.
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "COLUMNS": "40"} if edit else {}
    arguments = ("net.py:build", "port.py:build", "--shape", "2,3,8,8", "--check", "eval", *FILES)
    process = run(folder, *arguments, **environment)
    process.folder, process.differs = folder, bool(edit)
    return process


@pytest.mark.parametrize("option", ["--json", "--html", "--junit", "--write-rules"])
@pytest.mark.parametrize("name", ["net.py", "port.py", "port.toml"])
def test_no_report_takes_the_place_of_what_is_read(option, name, tmp_path):
    for each in ("net.py", "port.py", "port.toml"):
        (tmp_path / each).write_text("mine")
    given = ("net.py:build", "port.py:build", "--shape", "2,3,8,8", "--rules", "port.toml", option, name)
    process = run(tmp_path, *given)
    assert (process.returncode, process.stderr) == (2, f"parity: {name} cannot be written: this command reads it\n")
    assert (tmp_path / name).read_text() == "mine"


def test_rules_that_somebody_may_have_corrected_stay(tmp_path):
    for each in ("net.py", "port.py", "port.toml"):
        (tmp_path / each).write_text("mine")
    process = run(tmp_path, "net.py:build", "port.py:build", "--shape", "2,3,8,8", "--write-rules", "port.toml")
    assert process.returncode == 2
    assert "port.toml cannot be written: it is there, and may have been corrected by hand" in process.stderr
    assert (tmp_path / "port.toml").read_text() == "mine"


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


def test_the_json_is_as_its_schema_says(done):
    assert faults(json.loads((done.folder / "report.json").read_text()), SCHEMA) == []


def test_every_field_of_a_report_is_in_the_schema():
    document = json.loads(to_json(report(*LAYERS, layer("", off=float("nan"), original=None))))
    assert faults(document, SCHEMA) == []
    assert document["layers"]["eval"][-1]["inherited"]["relative"] is None


def test_the_schema_is_one_and_says_what_is_wrong():
    document = json.loads(to_json(report(*LAYERS)))
    document["checks"][0]["error"] = "large"
    document["passed"] = 1
    document["weights"]["pairs"]["a"] = ["b"]
    del document["original"]["name"]
    document["more"] = document["layers"]["evil"] = []
    said = faults(document, SCHEMA)
    assert len(said) == 6, said
    jsonschema = pytest.importorskip("jsonschema", reason="`pip install jsonschema` has it checked by that too")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert len(list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document))) == 6


def check_junit(element):
    children, attributes, needed = JUNIT[element.tag]
    assert {child.tag for child in element} <= children, element.tag
    assert needed <= set(element.attrib) <= attributes, element.tag
    for child in element:
        check_junit(child)


def test_the_junit_xml_is_as_test_servers_read_it(done):
    root = ElementTree.parse(done.folder / "junit.xml").getroot()
    check_junit(root)
    cases = root.findall("testsuite/testcase")
    failures = root.findall("testsuite/testcase/failure")
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names) == int(root[0].get("tests"))
    assert int(root[0].get("failures")) == len(failures)
    assert bool(failures) is done.differs
    for failure in failures:
        assert "is off by" in failure.get("message")
        assert "change port.py:" in failure.text


def test_the_junit_xml_holds_any_text():
    evil = report(*LAYERS)
    evil = replace(evil, checks=(replace(evil.checks[0], why=EVIL),), port=replace(evil.port, factory=EVIL))
    root = ElementTree.fromstring(to_junit(evil))
    assert "<script>" in root.find("testsuite/testcase/failure").get("message")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "an input is needed"),
        (("--shape", "2,3", "--html", "no-such-folder/page.html"), "no-such-folder/page.html cannot be written"),
        (("--shape", "2,3", "--html", "a", "--junit", "./a"), "--html and --junit must be two files, both are a"),
        (("--shape", "2,3"), "net.py"),
    ],
)
def test_the_exit_code_is_2_where_it_could_not_run(tmp_path, arguments, words):
    done = run(tmp_path, "net.py:build", "port.py:build", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def as_text(found, width=80, **options):
    stream = io.StringIO()
    print_report(found, Console(file=stream, width=width, **options))
    return stream.getvalue()


def test_what_is_piped_has_neither_colours_nor_cut_words(done):
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert "..." not in done.stdout
    assert "  outputs " in done.stdout
    assert "of 53 bits, " in done.stdout
    if done.differs:
        assert re.search(r"^>     0 Conv2d\n? .*\d$", done.stdout, re.MULTILINE), done.stdout
        assert "CAUSE what is padded: circular in the port, zeros in the original" in done.stdout


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_tree_and_the_checks_fit_80_columns(width):
    checks = tuple(
        Check(mode, dtype, "parameter gradients", error, 5.0, unit, why, "a", (0,), 12.4, 50.9, (0.4, 1.6), 6)
        for mode in ("eval", "train")
        for dtype, error, unit, why in (("float64", 0.5, "relative", "off"), ("float32", 0.68, "noise units", ""))
    )
    text = as_text(replace(report(*LAYERS, layer("long" * 15)), checks=checks), width)
    start = text.index("eval, float64: at most")
    body = text[start : text.index("DIFFERS eval mode")] + text[text.index("layers in eval") : text.index("FIRST DIFF")]
    assert max(map(len, body.splitlines())) <= 80
    for words in ("0.68 (0.4 to 1.6)", "12.4 of 53 bits, 50.9 expected", ">     conv Conv (Conv2d)"):
        assert words in body
    assert re.search(r" 0\.5 +0\.5 +0\.5 +-$", body, re.MULTILINE)


def test_no_color_is_heeded_on_a_terminal(monkeypatch):
    colours = re.compile(r"\x1b\[[\d;]*3\d")
    assert colours.search(as_text(report(*LAYERS), force_terminal=True, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours.search(as_text(report(*LAYERS), force_terminal=True, color_system="standard"))


@pytest.mark.parametrize("off", [0.5, 0.0], ids=["forward", "buffers"])
def test_of_a_large_tree_what_adds_nothing_is_left_out_and_counted(off):
    healthy = [layer(f"{stage}{part}") for stage in ("a", "b") for part in ("", *(f".{i}" for i in range(30)))]
    guilty = [layer("block"), layer("block.conv", off=off), *(layer(f"block.{i}") for i in range(3))]
    text = as_text(report(layer(""), *healthy, *guilty))
    assert "a Conv (Conv2d) (30 layers inside)" in text
    assert "    block Conv" in text
    for name in ("0", "1", "2", "conv"):
        assert re.search(rf"^[> ]     {name} Conv", text, re.MULTILINE), text
    assert text.count("Conv2d") < 20


def test_a_second_mode_with_the_same_first_layer_has_no_second_tree():
    found = report(*LAYERS)
    again = replace(found.differences[0], mode="train")
    text = as_text(replace(found, differences=(*found.differences, again)))
    assert text.count("layers in ") == 1
    assert "IN TRAIN MODE block.conv" in text
