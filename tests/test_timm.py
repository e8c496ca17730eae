"""Models of timm, by the names and shapes of their arrays: each moves to Paddle and to Flax and back."""

import json
import sys
from pathlib import Path

import pytest

from parity import ParityError

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
        timm_models.there_and_back(shapes, "x.msgpack", "")
    assert timm_models.there_and_back(shapes, "x.msgpack", "convolution") == []
