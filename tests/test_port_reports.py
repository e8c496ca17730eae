"""What `parity port` writes: a page, JSON, JUnit XML, text, and its exit codes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from html_page import Page
from json_schema import faults
from test_page import EVIL, LAYERS, layer, report
from test_port import ORIGINAL, write

from parity.port.junit import to_junit
from parity.port.report import to_json

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
