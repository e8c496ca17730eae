"""Differences planted in the ports of examples/ports: which layer is named, and which cause; none may be wrong."""

import os
from pathlib import Path

import pytest

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory

PORTS = Path(__file__).parent.parent / "examples" / "ports"
# Of the port: its text and another, all of it where it stands; the layer; the cause as it is named and what the port has.
PLANTED = [
    ("convnext_torch", "eps=1e-6", "eps=1e-5", "blocks.0.norm", ("epsilon", "1e-05")),
    ("convnext_torch", "7, padding=3", "7, padding=3, padding_mode='circular'", "blocks.0.dwconv", ("what is padded", "circular")),
    ("convnext_torch", "F.gelu(y)", 'F.gelu(y, approximate="tanh")', "blocks.0", ("the activation", "gelu, tanh")),
    ("convnext_torch", "F.gelu(y)", "F.silu(y)", "blocks.0", ("the activation", "silu")),
    ("convnext_torch", "F.gelu(y)", "y", "blocks.0", ("the activation", "no activation")),
    ("convnext_torch", "self.gamma * y", "y", "blocks.0", ("the first operand of *", "left out")),
    ("convnext_torch", "return x + (", "return (", "blocks.0", ("the first operand of +", "left out")),
    ("convnext_torch", "x.mean((2, 3))", "x.sum((2, 3))", "", ("the reduction", "sum")),
    ("convnext_torch", "x.mean((2, 3))", "x.amax((2, 3))", "", ("the reduction", "amax")),
    ("convnext_torch", "nn.Linear(width, classes)", "nn.Linear(width, classes, bias=False)", "head", ("the linear layer's bias", "left out")),
    ("convnext_torch", "self.dwconv(x).permute", "F.conv2d(x, self.dwconv.weight.mT, self.dwconv.bias, padding=3, groups=len(self.gamma)).permute", "blocks.0", None),
    ("unet_torch", "nn.GroupNorm(4, out_channels)", "nn.GroupNorm(4, out_channels, eps=1e-6)", "down1.norm1", ("epsilon", "1e-06")),
    ("unet_torch", "nn.GroupNorm(4, out_channels)", "nn.GroupNorm(8, out_channels)", "down1.norm1", ("the number of groups", "8")),
    ("unet_torch", "[skip2, self.up2(x)]", "[self.up2(x), skip2]", "", ("the order of concatenation", "[1, 0]")),
    ("unet_torch", "F.max_pool2d(skip1, 2)", "F.avg_pool2d(skip1, 2)", "", ("the pool", "average")),
    ("unet_torch", "x = F.silu(self.norm1", "x = F.relu(self.norm1", "down1", ("the activation", "relu")),
    ("unet_torch", "return self.head(x)", "return self.head(x).softmax(1)", "", None),
    ("unet_torch", "return F.silu(self.norm2(self.conv2(x)))", "return self.norm2(F.silu(self.conv2(x)))", "down1", None),
    ("vit_torch", "(c // self.heads) ** -0.5", "c ** -0.5", "blocks.0.attn", ("the constant of *", "of all heads, 0.204124")),
    ("vit_torch", " * (c // self.heads) ** -0.5", "", "blocks.0.attn", ("the constant of *", "left out, 1")),
    ("vit_torch", "scores.softmax(-1)", "scores.softmax(-2)", "blocks.0.attn", ("the softmax's axis", "-2")),
    ("vit_torch", "q, k, v =", "k, q, v =", "blocks.0.attn", ("the order of the parts", "kqv")),
    ("vit_torch", "q, k, v =", "q, v, k =", "blocks.0.attn", ("the order of the parts", "qvk")),
    ("vit_torch", "n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)", "n, length, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)", "blocks.0.attn", ("the order in which an axis is split", "[4, 3, 6], by axes [1, 0, 2]")),
    ("vit_torch", "y.transpose(1, 2).reshape", "y.reshape", "blocks.0.attn", None),
    ("vit_torch", "self.norm(x)[:, 0]", "self.norm(x)[:, -1]", "", ("the place taken", "-1")),
    ("vit_torch", "self.norm(x)[:, 0]", "self.norm(x).mean(1)", "", ("what is taken", "the mean")),
    ("vit_torch", "[self.token.expand(len(x), -1, -1), x]", "[x, self.token.expand(len(x), -1, -1)]", "", ("the order of concatenation", "[1, 0]")),
    ("vit_torch", "x = x + self.attn(self.norm1(x))", "x = self.attn(self.norm1(x))", "blocks.0", ("the first operand of +", "left out")),
    ("convnext_paddle", "epsilon=1e-6", "epsilon=1e-5", "blocks.0.norm", ("epsilon", "1e-05")),
    ("convnext_paddle", "F.gelu(y)", "F.gelu(y, approximate=True)", "blocks.0", ("the activation", "gelu, tanh")),
    ("unet_paddle", "nn.GroupNorm(4, out_channels)", "nn.GroupNorm(8, out_channels)", "down1.norm1", ("the number of groups", "8")),
    ("unet_paddle", "[skip1, self.up1(x)]", "[self.up1(x), skip1]", "", ("the order of concatenation", "[1, 0]")),
    ("vit_paddle", "F.softmax(scores, -1)", "F.softmax(scores, -2)", "blocks.0.attn", ("the softmax's axis", "-2")),
    ("vit_paddle", "[n, length, 3, self.heads, c // self.heads]).transpose([2, 0, 3, 1, 4])", "[n, length, self.heads, 3, c // self.heads]).transpose([3, 0, 2, 1, 4])", "blocks.0.attn", ("the order in which an axis is split", "[4, 3, 6], by axes [1, 0, 2]")),
    ("vit_paddle", "x.shape[0], -1, -1]), x], 1)", "x.shape[0], -1, -1]), x[:, ::-1]], 1)", "", None),
    ("convnext_flax", "epsilon=1e-6", "epsilon=1e-5", "blocks.0.norm", ("epsilon", "1e-05")),
    ("convnext_flax", "approximate=False", "approximate=True", "blocks.0", ("the activation", "gelu, tanh")),
]  # fmt: skip


def planted(tmp_path, name, old, new):
    text = (PORTS / f"{name}.py").read_text()
    assert old in text
    file = tmp_path / f"{name}_planted.py"
    file.write_text(text.replace(old, new))
    sides = PORTS / f"{name.partition('_')[0]}_torch.py", file
    return port(
        *(load_factory(f"{side}:build") for side in sides),
        from_shapes(["2,3,16,16"], 0),
        modes=["eval"],
        dtypes=["float64"],
    )


# All of them in a few minutes: PARITY_ALL=1; else every third.
@pytest.mark.parametrize(
    ("name", "old", "new", "layer", "cause"), PLANTED if os.environ.get("PARITY_ALL") else PLANTED[::3]
)
def test_the_layer_and_the_cause_of_a_planted_difference_are_named(tmp_path, name, old, new, layer, cause):
    report = planted(tmp_path, name, old, new)
    assert not report.passed
    assert report.difference.layer.replace("layers.", "") == layer
    found = [(each.what, each.port) for each in report.difference.causes]
    if cause is None:
        assert not found or all("left out" not in text for _, text in found)
    else:
        assert cause in found
        assert len(found) <= 3
        assert new in report.difference.place.text or old in report.difference.place.text
