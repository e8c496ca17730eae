"""Models of timm, by the names and shapes of their arrays: each moves to Paddle and to Flax and back."""

import json
import sys
from pathlib import Path

import pytest

from parity import ParityError
from parity.cli.weights import layers_told

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import timm_models

SHAPES = json.loads((Path(__file__).parent / "timm_shapes.json").read_text())


@pytest.mark.parametrize("target", timm_models.TARGETS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_model_moves_and_comes_back(name, target):
    asked = name == "vit_medium_patch32_clip_224" and target.endswith(".msgpack")
    assert timm_models.try_all(SHAPES[name], target) == ("asked" if asked else "moved")


def test_what_the_command_says_to_type_is_enough():
    shapes = SHAPES["vit_medium_patch32_clip_224"]
    with pytest.raises(ParityError, match=r"--layer '\*=convolution' for the rest"):
        timm_models.there_and_back(shapes, "x.msgpack", ())
    assert timm_models.there_and_back(shapes, "x.msgpack", ("convolution",)) == []


def test_one_pattern_tells_two_kinds_and_one_layer_is_told_once():
    shapes = {"patch.weight": ([8, 3, 4, 4], "float32"), "head.weight": ([5, 8], "float32")}
    with pytest.raises(ParityError, match="say it with --layer"):
        timm_models.there_and_back(shapes, "x.msgpack", ("convolution",))
    assert timm_models.there_and_back(shapes, "x.msgpack", ("convolution", "linear")) == []
    with pytest.raises(ParityError, match="--layer 'head' is given twice, as 'linear' and 'embedding'"):
        layers_told(["head=linear", "head=embedding"])
