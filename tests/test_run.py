"""The whole catalogue in all three frameworks, as `parity run` computes it."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import flax_impl
import paddle_impl
import torch_impl
from parity.catalogue.cases import CASES, INPUTS, select
from parity.catalogue.inputs import crops, default_image, draw_input, draw_weights, read_image
from parity.errors import ParityError
from parity.frameworks import FRAMEWORKS, flax, switches
from parity.reference import modules as reference
from parity.runs.run import run

DTYPES = ("float64", "float32")


@pytest.fixture(scope="module")
def report():
    return run(CASES, FRAMEWORKS, DTYPES, read_image(default_image()))


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_the_same(report, case, name):
    results = [result for result in report.results if (result.case, result.framework) == (case.name, name)]
    assert [(result.dtype, result.check) for result in results] == [
        (d, f"forward {m}") for d in DTYPES for m in case.modes
    ]
    for result in results:
        assert result.passed, result.why
        assert result.error <= (1e-12 if result.dtype == "float64" else 4)


def test_the_report_says_what_it_was_made_with(report):
    assert report.passed
    assert {"torch", "paddle", "flax", "jax", "numpy", "python", "seed"} <= report.environment.keys()


def test_two_runs_give_the_same_numbers(report):
    chosen = select(["*/norm", "SE_ASPP/options"])
    again = run(chosen, FRAMEWORKS, DTYPES, read_image(default_image()))
    names = {case.name for case in chosen}
    assert again.results == [result for result in report.results if result.case in names]


def test_each_case_is_told_once_by_each_framework_and_the_reference():
    told = []
    chosen = select(["SE/1x1", "CBAM/1x1", "SE/square"])
    run(chosen, ["torch", "flax"], DTYPES, read_image(default_image()), advance=lambda: told.append(1))
    assert len(told) == len(chosen) * 3


def test_what_flax_compiled_is_found_again_and_forgotten_in_memory(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert switches.cache("torch", tmp_path) == {}
    assert switches.cache("flax", tmp_path)["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    assert switches.cache("flax", tmp_path)["JAX_COMPILATION_CACHE_DIR"] == "mine"
    flax.release()
    monkeypatch.setattr(flax, "KEPT", 0)
    model = flax_impl.SE(16, reduction=4, rngs=nnx.Rngs(0))
    flax.forward(model, np.ones((2, 16, 3, 11), np.float32), train=False)
    assert len(flax._compiled) > 1
    flax.release()
    assert len(flax._compiled) == 1


# Whose cases, and whose reference, fold shares.
MODULES = [name for name in torch_impl.__all__ if name != "fold"]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_has_cases_for_every_option(module):
    cases = [case for case in CASES if case.module == module]
    options = set(inspect.signature(getattr(torch_impl, module)).parameters)
    given = {key for case in cases for key in case.kwargs}
    positional = {"channels", "out_channels", "width", "depth"}
    # SE_ASPP's dropout is ASPP's own; a block's name is what its errors say.
    assert options - positional - given <= ({"dropout"} if module == "SE_ASPP" else {"name"})


def test_the_mirrors_and_the_reference_have_the_same_modules_and_arguments():
    assert torch_impl.__all__ == paddle_impl.__all__ == flax_impl.__all__
    for module in MODULES:
        expected = inspect.signature(getattr(torch_impl, module).__init__).parameters
        for package in (paddle_impl, flax_impl, reference):
            # The reference's blocks pass their options on to their parent, and name nothing in errors.
            blocks = package is reference and module in ("BasicBlock", "Bottleneck")
            found = dict(inspect.signature(getattr(package, "Block" if blocks else module).__init__).parameters)
            left_out = ("rngs", "bottleneck", "name") if blocks else ("rngs",)
            assert [(p.name, p.default, p.kind) for p in found.values() if p.name not in left_out] == [
                (p.name, p.default, p.kind) for p in expected.values() if not (blocks and p.name in left_out)
            ], f"{package.__name__}.{module}"


def test_the_catalogue_covers_what_hides_mistakes():
    shapes = {case.name: case.shape for case in CASES}
    assert len(shapes) == len(CASES)
    assert {case.input for case in CASES} == set(INPUTS)
    for module in ("ASPP", "SE_ASPP"):
        cases = [case for case in CASES if case.module == module]
        rates = {case.name: max(case.kwargs.get("rates", (18,))) for case in cases}
        assert any(min(case.shape[2:]) > 2 * rates[case.name] for case in cases)
        assert any(max(case.shape[2:]) < rates[case.name] for case in cases)
    assert any(case.shape[2:] == (1, 1) for case in CASES)
    assert any(case.shape[0] == 1 for case in CASES)
    assert all(len(set(case.shape)) == 4 for case in CASES if case.shape[2:] != (1, 1))


def test_photographs_bring_saturated_and_repeated_values():
    case = next(case for case in CASES if case.name == "CBAM/default")
    x = draw_input(case, read_image(default_image()), 0)
    assert (x == -2).any()
    assert np.unique(x).size < x.size / 4


def test_crops_put_each_block_of_pixels_into_the_channels():
    image = np.arange(12 * 10 * 3).reshape(12, 10, 3).astype(np.uint8)
    maps = crops(image, (1, 12, 3, 2))
    top, left = (12 - 6) // 2, (10 - 4) // 2
    for colour in range(3):
        for i in range(2):
            for j in range(2):
                pixels = image[top + i : top + 6 : 2, left + j : left + 4 : 2, colour]
                assert np.array_equal(maps[0, 4 * colour + 2 * i + j], (pixels.astype(np.float32) - 128) / 64)


def test_what_is_drawn_is_float32_and_depends_on_the_seed_alone():
    case, image = CASES[1], read_image(default_image())
    shapes = {"fc1.weight": (2, 32, 1, 1), "norm.weight": (3,)}
    first, again, other = (draw_weights(case, shapes, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[key], again[key]) and first[key].dtype == np.float32 for key in shapes)
    assert not any(np.array_equal(first[key], other[key]) for key in shapes)
    assert not np.array_equal(draw_input(case, image, 0), draw_input(case, image, 1))


def test_an_image_too_small_is_refused_with_both_sizes():
    with pytest.raises(ParityError, match=r"the image has 8 x 9 pixels, this case needs at least 28 x 36"):
        draw_input(CASES[0], np.zeros((9, 8, 3), np.uint8), 0)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\xff\xd8\xff\xe0" + bytes(40), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n" + bytes(9)],
)
def test_a_file_that_is_no_image_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ParityError, match=re.escape(str(path))) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_an_image_of_too_many_pixels_is_refused(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (2**13 + 1, 2**13)).save(path)
    with pytest.raises(ParityError, match="8193 x 8192 pixels, at most 67108864 are read"):
        read_image(path)
    with pytest.raises(ParityError, match="is not there"):
        read_image(Path("no-such-file.png"))
