"""The page of a report: whole, valid, without network, and safe whatever stands in a model."""

import re
from dataclasses import replace

import numpy as np
import pytest
from commands import parity
from html_page import Page

from parity.catalogue.cases import CASES
from parity.catalogue.tasks import CHECKS, Task
from parity.cli.page import WAYS
from parity.cli.page import to_page as to_catalogue_page
from parity.page.model import LEVELS, Amount
from parity.page.pictures import OF_NOISE, SIDE, take
from parity.page.render import BUDGET, render
from parity.port.page import to_page
from parity.port.report import Cause, Check, Difference, Error, Layer, Model, Place, Report, Weights
from parity.runs import record_file as records
from parity.verdict import results
from parity.verdict.judge import NOISE_UNITS, RELATIVE
from parity.verdict.results import Result, Status, Verdict

STYLE = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")
EVIL = "<script>alert(1)</script>\"'&</script><!--\u2028\x00\x1b[31m"
LINE = Place("port.py", 9, 'self.conv = Conv(3, 8, padding="SAME")')


def layer(path, *, off=0.0, units=0.8, pictures=False, seed=0, **options):
    truth = np.random.default_rng(seed).standard_normal((2, 5, 40, 7))
    error = Error(off or 1e-16, off / 1e-16 or units, "a", (0, 1, 2, 3), 1e-11)
    taken = {"float64 forward": take(truth, truth + off, 1e-16)} if pictures else {}
    defaults = {
        "original": path,
        "depth": path.count(".") + 1 if path else 0,
        "classes": ("Conv2d", "Conv"),
        "config": ({"padding": [1, 1], "eps": 1e-5}, {"padding": "SAME", "eps": 1e-5}),
        "made": (LINE, Place("net.py", 11, "self.conv = nn.Conv2d(3, 8)")),
        "forward": LINE,
        "shape": (2, 5, 40, 7),
        "inherited": error,
        "added": error,
        "inherited_backward": error,
        "precisions": {"float32": (Error(1e-7, 0.9), Error(float("nan"), float("nan")))},
        "pictures": taken,
    }
    return Layer(path, **{**defaults, **options})


def report(*layers, passed=False):
    checks = Check("eval", "float64", "outputs", 0.0 if passed else 0.5, 1e-11, "relative", "" if passed else "is off")
    cause = Cause("padding", "(1, 1)", '"SAME"', LINE, Place("net.py", 11))
    difference = Difference("block.conv", "eval", "forward", "block.conv (Conv)", LINE, 1e-16, 0.5, (cause,), 100)
    return Report(
        Model("net.py:build", "torch", "Net", {"torch": "2.13.0"}, 99),
        Model("port.py:build", "flax", "Net", {"flax": "0.12.8"}, 99),
        ("float64 (2, 3, 8, 8)",),
        Weights({"conv.weight": ("conv.weight", "name")}),
        (checks,),
        {"eval": layers, "train": layers[:1]},
        () if passed else (difference,),
        ("a note",),
    )


LAYERS = [layer(path, off=0.5 * (path == "block.conv"), pictures=True) for path in ("", "block", "block.conv", "head")]


@pytest.fixture(scope="module", params=[False, True], ids=["differs", "same"])
def page(request):
    return Page(render(to_page(report(*LAYERS, passed=request.param))))


def test_the_page_is_valid_and_refers_to_nothing_outside(page):
    assert page.faults == []
    policy = page.all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_layer_is_in_the_tree_with_its_errors_forward_and_backward(page):
    items = page.all("li", role="treeitem")
    assert [page.data["nodes"][int(item["data-node"])]["path"] for item in items] == [each.path for each in LAYERS]
    assert [item["aria-level"] for item in items] == ["1", "2", "3", "2"]
    assert [item.get("aria-expanded") for item in items] == ["true", "true", None, None]
    for item, way in zip(items, page.data["ways"] * 2, strict=True):
        assert f"{way} " in item["text"]


def test_the_search_has_paths_and_classes_of_both_sides(page):
    item = page.all("li", data_node="2")[0]
    assert all(word in item["data-search"] for word in ("block.conv", "conv2d", "conv"))


def test_the_details_have_maps_worst_element_histogram_and_both_configurations(page):
    node = page.data["nodes"][2]
    assert ["padding", "[1, 1]", "SAME"] in node["pairs"]
    picture = node["pictures"]["eval float64 forward"]
    assert len(picture["index"]) == 4
    assert sum(picture["counts"]) + picture["exact"] == 2 * 5 * 40 * 7
    rows, columns = picture["size"]
    assert (rows, columns, picture["step"]) == (20, 7, [2, 1])
    assert len(picture["pixels"]) * 3 // 4 >= 3 * rows * columns


def test_the_page_says_the_verdict_the_cause_and_the_line():
    page = Page(render(to_page(report(*LAYERS))))
    findings = page.all("section", aria_label="Findings")[0]["text"]
    assert 'Cause: padding: "SAME" in the port, (1, 1) in the original (net.py:11).' in findings
    assert "change port.py:9" in findings
    assert LINE.text in findings
    assert [each["data-node"] for each in page.all("li", class_="marked")] == ["2"]
    assert page.all("title")[0]["text"].startswith("1 of 1 checks failed")
    assert page.all("td", class_="verdict-differs")


def test_an_amount_that_is_no_number_differs_and_is_of_the_highest_level(page):
    view = [each["about"] for each in page.data["views"]].index(
        "Units are the noise of an honest computation in float32; the whole model may have 5."
    )
    assert page.data["nodes"][0]["amounts"][view][1][:3] == ["NaN", len(LEVELS) + 1, 1]
    assert [Amount.of(size, "", differs=False).level for size in (0.0, 5.0, 6.0, 1e4, float("inf"))] == [0, 1, 2, 3, 5]


def test_what_stands_in_a_model_is_text():
    evil = [
        layer("", pictures=True),
        layer(EVIL, classes=(EVIL, EVIL), config=({EVIL: EVIL}, {}), forward=Place(EVIL, 1, EVIL)),
    ]
    found = report(*evil)
    found = replace(
        found,
        original=replace(found.original, factory=EVIL),
        weights=Weights({EVIL: (EVIL, EVIL)}),
        checks=(replace(found.checks[0], why=EVIL, worst=EVIL),),
        differences=(replace(found.differences[0], where=EVIL, causes=(Cause(EVIL, EVIL, EVIL, Place(EVIL, 1, EVIL), LINE),)),),
        notes=(EVIL, "\ud800"),
    )  # fmt: skip
    html = render(to_page(found))
    page = Page(html)
    assert page.faults == []
    assert len(page.all("script")) == 2
    assert not {"<", ">", "&"} & set(page.all("script", type="application/json")[0]["text"])
    assert b"\x00" not in html
    assert b"\x1b" not in html
    assert page.data["nodes"][1]["pairs"][0][0].startswith("<script>alert(1)</script>")
    assert "<script>alert(1)</script>" in page.all("h1")[0]["text"]


def test_a_page_of_a_deep_network_is_bounded_and_says_so():
    one = layer("", pictures=True)
    large = take(np.zeros((64, 64)), np.ones((64, 64)))
    many = {f"float64 forward{j}": large for j in range(8)}
    layers = [one, *(replace(one, path=f"layer{i}", pictures=many) for i in range(150))]
    html = render(to_page(report(*layers, passed=True)))
    page = Page(html)
    assert len(page.all("li", role="treeitem")) == 151
    assert sum(len(each["pixels"]) for node in page.data["nodes"] for each in node["pictures"].values()) < BUDGET
    assert len(html) < BUDGET + 1201 * 1000
    assert re.search(r"at most \d+ pixels a side", page.all("footer")[0]["text"])


def test_more_maps_than_can_be_shown_are_those_that_are_off_most():
    tiny = take(np.zeros((20, 20)), np.full((20, 20), 1e-9), 1e-10)
    large = take(np.zeros((20, 20)), np.full((20, 20), 1.0), 1e-10)
    layers = [layer(f"l{i}", pictures=False) for i in range(10)]
    layers = [replace(each, pictures={f"float64 forward{j}": tiny for j in range(600)}) for each in layers]
    layers[3] = replace(layers[3], pictures={"float64 forward": large})
    page = Page(render(to_page(report(layer(""), *layers))))
    assert set(page.data["nodes"][4]["pictures"]) == {"eval float64 forward"}
    assert "of 5401 that are off most" in page.all("footer")[0]["text"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_contrast_for_aa(page, dark):
    style = page.all("style")[0]["text"]
    light, rest = style.split("@media (prefers-color-scheme: dark)")
    colours = dict(STYLE.findall(light)) | (dict(STYLE.findall(rest.split("* {")[0])) if dark else {})
    pairs = [(f"l{i}-text", f"l{i}-back") for i in range(len(LEVELS) + 2)]
    pairs += [(text, back) for text in ("text", "pale", "link") for back in ("back", "panel")]
    pairs += [("text", "chosen"), ("good-text", "good-back"), ("bad-text", "bad-back")]
    assert {pair: round(contrast(*(colours[name] for name in pair)), 1) for pair in pairs if contrast(*(colours[name] for name in pair)) < 4.5} == {}  # fmt: skip
    # What is no text needs 3 to 1: the focus, and the frame of a field.
    assert min(contrast(colours["focus"], colours[back]) for back in ("back", "panel", "chosen")) >= 3
    assert contrast(colours["pale"], colours["back"]) >= 3


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_one_wrong_element_of_a_million_is_seen_in_the_picture():
    truth = np.random.default_rng(0).standard_normal((1, 4, 500, 500))
    wrong = truth.copy()
    wrong[0, 2, 317, 42] += 1.0
    picture = take(truth, wrong, 1e-3)
    assert picture.index == (0, 2, 317, 42)
    assert picture.axes == (2, 3)
    assert max(picture.pixels.shape[1:]) <= SIDE
    assert picture.pixels[2].max() == pytest.approx(1.0)
    assert picture.units == pytest.approx(1000.0)
    assert picture.histogram.unit == OF_NOISE
    assert picture.histogram.exact == truth.size - 1
    assert picture.histogram.counts[-1] == 1
    assert picture.histogram.edges[-2] <= 1000.0 <= picture.histogram.edges[-1]


def test_what_is_not_finite_is_the_worst_element_and_counted():
    truth = np.ones((3, 4))
    wrong = truth + 1e-3
    wrong[1, 2] = np.nan
    picture = take(truth, wrong)
    assert picture.index == (1, 2)
    assert picture.units == np.inf
    assert sum(picture.histogram.counts) == 12


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (100, 1), (2, 3, 4, 5, 6)])
def test_a_picture_of_any_shape(shape):
    truth = np.arange(float(np.prod(shape, dtype=int))).reshape(shape)
    picture = take(truth, truth + 1.0)
    if not truth.size:
        assert picture is None
    else:
        assert picture.pixels.shape[0] == 3
        assert np.all(picture.pixels[2] == 1.0)
        assert sum(picture.histogram.counts) == truth.size


def test_arrays_that_cannot_be_compared_have_no_picture():
    assert take(np.zeros((2, 3)), np.zeros((3, 2))) is None
    assert take(np.array(["a"]), np.array(["a"])) is None


def run_report(**errors):
    """Results of two cases in two frameworks; `errors` are those that are not small."""
    found = []
    for case in ("SE/default", "SE/1x1", "CBAM/norm"):
        for framework in ("torch", "flax"):
            for dtype, unit, limit, small in (("float64", RELATIVE, 1e-11, 1e-15), ("float32", NOISE_UNITS, 5.0, 0.7)):
                for check in ("forward", "gradients"):
                    error = errors.get(f"{framework}_{dtype}_{check}", small) if case == "SE/1x1" else small
                    verdict = Verdict.of(error, limit, unit, "" if error <= limit else f"{EVIL} is off")
                    found.append(Result.of(case, framework, "cpu", Task(check, "eval", dtype), verdict))
    unknown = Verdict(error=float("nan"), limit=float("nan"), unit=NOISE_UNITS, status=Status.UNDETERMINED, why="a: b")
    found.append(Result.of("SE/1x1", "torch", "cpu", Task("training", "adam", "float32"), unknown))
    return results.Report(found, {"torch": "2.13.0"}, ["a note"], found[:1])


def test_the_page_of_a_run_has_modules_and_cases_with_every_check():
    page = Page(render(to_catalogue_page(run_report(), {case.name: case for case in CASES})))
    assert page.faults == []
    items = page.all("li", role="treeitem")
    assert [(item["aria-level"], page.data["nodes"][int(item["data-node"])]["path"]) for item in items] == [
        ("1", "SE"), ("2", "SE/default"), ("2", "SE/1x1"), ("1", "CBAM"), ("2", "CBAM/norm")
    ]  # fmt: skip
    assert [view["pictures"] for view in page.data["views"]] == [
        "torch float32", "flax float32", "torch float64", "flax float64"
    ]  # fmt: skip
    case = page.data["nodes"][2]
    assert [[amount and amount[:3] for amount in amounts] for amounts in case["amounts"]] == [
        [["0.7", 1, 0], ["0.7", 1, 0], None], [["0.7", 1, 0], ["0.7", 1, 0], None],
        [["1e-15 rel", 1, 0], ["1e-15 rel", 1, 0], None], [["1e-15 rel", 1, 0], ["1e-15 rel", 1, 0], None],
    ]  # fmt: skip
    assert page.data["ways"] == ["forward", "backward", "training"]
    assert len(case["tables"][0]["rows"]) == 9
    assert ["module", "SE(32)"] in page.data["nodes"][1]["lines"]
    assert "all the same: 3 cases" in page.all("p", class_="verdict passed")[0]["text"]


def test_every_check_of_a_run_has_its_way():
    assert set(CHECKS) <= set(WAYS)


def test_the_page_of_a_run_begins_with_what_failed():
    report = run_report(flax_float32_gradients=700.0, flax_float64_forward=float("nan"))
    page = Page(render(to_catalogue_page(report, {})))
    assert page.faults == []
    assert page.data["views"][0]["pictures"] == "flax float64"
    assert [each["data-node"] for each in page.all("li", class_="marked")] == ["2"]
    assert [amounts[0][1:3] for amounts in (page.data["nodes"][i]["amounts"][0] for i in (0, 2))] == [[5, 1]] * 2
    assert "SE/1x1 in flax, float32, gradients eval: " in page.all("section", aria_label="Findings")[0]["text"]


def test_parity_run_writes_a_page_with_the_array_that_is_off_most(tmp_path):
    page = tmp_path / "run.html"
    done = parity("run", "--case", "SE/1x1", "--framework", "torch", "--html", str(page))
    assert done.returncode == 0, done.stderr
    picture = Page(page.read_bytes()).data["nodes"][1]["pictures"]["torch float32 forward"]
    assert picture["name"].startswith(("forward eval, ", "forward train, "))
    assert picture["unit"] == "noise RMS"
    assert sum(picture["counts"]) + picture["exact"] == np.prod(picture["shape"])
    done = parity("run", "--json", "a", "--html", "./a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "parity: --json and --html must be two files, both are a\n")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The page of two records of one framework and one of another, of which one array was changed afterwards."""
    return page_of_records(tmp_path_factory.mktemp("records"))


def page_of_records(folder):
    assert (
        parity("plan", "--case", "SE/1x1", "--check", "forward,gradients", "-o", "all.plan", cwd=folder).returncode == 0
    )
    for framework, name in (("torch", "here"), ("torch", "there"), ("paddle", "other")):
        done = parity("record", "--plan", "all.plan", "--framework", framework, "-o", f"{name}.record", cwd=folder)
        assert done.returncode == 0, done.stderr
    spoil(folder / "there.record")
    done = parity("compare", "here.record", "there.record", "other.record", "--html", "page.html", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    return folder / "page.html"


def spoil(path):
    """Exchange two values of an output, and sign the record anew, as a machine that computes wrongly would have."""
    found = records.read(path)
    [run] = found.outcomes
    name = next(name for name in run.computed if "float64" in name and name.endswith("output"))
    wrong = run.computed[name].copy()
    wrong.flat[0] *= 1.5
    path.unlink()
    records.write(path, replace(found, outcomes=[replace(run, computed={**run.computed, name: wrong})]))


def test_the_page_of_records_says_which_run_is_wrong(compared):
    page = Page(compared.read_bytes())
    assert page.faults == []
    texts = [each["text"] for each in page.elements]
    assert "Records, held against the reference and each other" in texts
    assert any(text.startswith("torch on cpu, made 20") for text in texts)
    said = [text for text in texts if "SE/1x1 in torch (there), float64, forward" in text]
    assert said
    pairs = [each["text"] for each in page.all("tr") if " ~ " in each["text"]]
    assert any("torch (here) ~ paddle" in text and "relativesame" in text for text in pairs)
    assert any("torch (here) ~ torch (there)" in text and "DIFFERS" in text for text in pairs)
    assert {"torch (here), float64", "torch (there), float32", "paddle, float32"} <= {
        each["text"] for each in page.all("option")
    }
    assert page.data["nodes"][1]["pictures"]["torch (there) float64 forward"]["name"].endswith("output")


def test_a_page_of_records_replaces_none(compared):
    folder = compared.parent
    done = parity("compare", "here.record", "--html", "here.record", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert records.read(folder / "here.record").outcomes
