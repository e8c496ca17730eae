"""Differences planted in the ports of examples/ports: which layer is named, and which cause; none may be wrong.

`PYTHONPATH=. python tests/helpers/planted.py` plants them all and prints, for each network, how many were found.
"""

import tempfile
from collections import Counter
from pathlib import Path

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory

PORTS = Path(__file__).parents[2] / "examples" / "ports"
SHAPES = {
    "resnet18": "2,3,64,64",
    "mobilenetv3": "2,3,64,64",
    "unet": "2,3,16,16",
    "vit": "2,3,16,16",
    "convnext": "2,3,16,16",
    "swin": "2,3,32,32",
    "lstm": "2,7:int<50",
}
RULES = {"mobilenetv3_paddle": "mobilenetv3.toml", "lstm_flax": "lstm.toml"}
# Layers that are not what their name says, which a port in PyTorch may use.
LAYERS = """
import torch, torch.nn.functional as F
from torch import nn
class Same(nn.Conv2d):
    def forward(self, x):
        flat = []
        for n, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1]):
            total = max((-(-n // s) - 1) * s + k - n, 0); flat += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, flat), self.weight, self.bias, self.stride, 0, 1, self.groups)
class Flipped(nn.Conv2d):
    def forward(self, x): return self._conv_forward(x, self.weight.flip(2, 3), self.bias)
class Exchanged(nn.Conv2d):
    def forward(self, x): return self._conv_forward(x, self.weight.mT, self.bias)
class Rotated(nn.Conv2d):
    def forward(self, x): return self._conv_forward(x, self.weight.rot90(1, (2, 3)), self.bias)
class Swapped(nn.Conv2d):
    def forward(self, x): return self._conv_forward(x, self.weight.transpose(0, 1), self.bias)
class FlippedTransposed(nn.ConvTranspose2d):
    def forward(self, x): return F.conv_transpose2d(x, self.weight.flip(2, 3), self.bias, self.stride, self.padding)
class MirroredTransposed(nn.ConvTranspose2d):
    def forward(self, x): return F.conv_transpose2d(x, self.weight.mT, self.bias, self.stride, self.padding)
class RMSLike(nn.LayerNorm):
    def forward(self, x): return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias
class Unbiased(nn.LayerNorm):
    def forward(self, x): return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias
class OutsideRoot(nn.LayerNorm):
    def forward(self, x): return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True).sqrt() + self.eps) * self.weight + self.bias
class BiasedRunning(nn.BatchNorm2d):
    def forward(self, x):
        if not self.training: return super().forward(x)
        before = self.running_var.clone()
        y = super().forward(x)
        self.running_var.data.copy_(before * 0.9 + 0.1 * x.detach().var((0, 2, 3), correction=0))
        return y
class AlwaysEval(nn.BatchNorm2d):
    def forward(self, x): return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
class Gates(nn.LSTM):
    order = "ifgo"
    def forward(self, x):
        for k in range(2):
            outs = []
            for tail in ("", "_reverse"):
                w, u, b, c = (getattr(self, f"{n}_l{k}{tail}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                outs.append(self.one(x, w, u, b, c, bool(tail)))
            x = self.join(outs)
        return x, None
    def join(self, outs): return torch.cat(outs, -1)
    def back(self, y): return y.flip(1)
    def biases(self, b, c): return b + c
    def out(self, o, c): return o.sigmoid() * c.tanh()
    def one(self, x, w, u, b, c, back):
        x = x.flip(1) if back else x
        h = s = x.new_zeros(len(x), self.hidden_size); ys = []
        for t in range(x.shape[1]):
            z = dict(zip(self.order, (x[:, t] @ w.T + h @ u.T + self.biases(b, c)).chunk(4, -1)))
            s = z["f"].sigmoid() * s + z["i"].sigmoid() * z["g"].tanh()
            h = self.out(z["o"], s); ys.append(h)
        y = torch.stack(ys, 1)
        return self.back(y) if back else y
class GatesIFOG(Gates): order = "ifog"
class GatesIGFO(Gates): order = "igfo"
class NoInputBias(Gates):
    def biases(self, b, c): return c
class Unit(Gates):
    def out(self, o, c): return o.sigmoid() * c
class BackwardFirst(Gates):
    def join(self, outs): return torch.cat(outs[::-1], -1)
class NotTurnedBack(Gates):
    def back(self, y): return y
"""
# Of the port: its text and another, all of it where it stands; the layer; the cause as it is named and what the port has,
# or None where none is known; further, what is otherwise in both before; and the mode.
PLANTED = [
    ('convnext_torch', 'eps=1e-6', 'eps=1e-5', 'blocks.0.norm', ('epsilon', '1e-05')),
    ('convnext_torch', '7, padding=3', "7, padding=3, padding_mode='circular'", 'blocks.0.dwconv', ('what is padded', 'circular')),
    ('convnext_torch', 'F.gelu(y)', 'F.gelu(y, approximate="tanh")', 'blocks.0', ('the activation', 'gelu, tanh')),
    ('convnext_torch', 'F.gelu(y)', 'F.silu(y)', 'blocks.0', ('the activation', 'silu')),
    ('convnext_torch', 'F.gelu(y)', 'y', 'blocks.0', ('the activation', 'no activation')),
    ('convnext_torch', 'self.gamma * y', 'y', 'blocks.0', ('the first operand of *', 'left out')),
    ('convnext_torch', 'return x + (', 'return (', 'blocks.0', ('the first operand of +', 'left out')),
    ('convnext_torch', 'x.mean((2, 3))', 'x.sum((2, 3))', '', ('the reduction', 'sum')),
    ('convnext_torch', 'x.mean((2, 3))', 'x.amax((2, 3))', '', ('the reduction', 'amax')),
    ('convnext_torch', 'nn.Linear(width, classes)', 'nn.Linear(width, classes, bias=False)', 'head', ("the linear layer's bias", 'left out')),
    ('convnext_torch', 'self.dwconv(x).permute', 'F.conv2d(x, self.dwconv.weight.mT, self.dwconv.bias, padding=3, groups=len(self.gamma)).permute', 'blocks.0', None),
    ('unet_torch', 'nn.GroupNorm(4, out_channels)', 'nn.GroupNorm(4, out_channels, eps=1e-6)', 'down1.norm1', ('epsilon', '1e-06')),
    ('unet_torch', 'nn.GroupNorm(4, out_channels)', 'nn.GroupNorm(8, out_channels)', 'down1.norm1', ('the number of groups', '8')),
    ('unet_torch', '[skip2, self.up2(x)]', '[self.up2(x), skip2]', '', ('the order of concatenation', '[1, 0]')),
    ('unet_torch', 'F.max_pool2d(skip1, 2)', 'F.avg_pool2d(skip1, 2)', '', ('the pool', 'average')),
    ('unet_torch', 'x = F.silu(self.norm1', 'x = F.relu(self.norm1', 'down1', ('the activation', 'relu')),
    ('unet_torch', 'return self.head(x)', 'return self.head(x).softmax(1)', '', None),
    ('unet_torch', 'return F.silu(self.norm2(self.conv2(x)))', 'return self.norm2(F.silu(self.conv2(x)))', 'down1', None),
    ('vit_torch', '(c // self.heads) ** -0.5', 'c ** -0.5', 'blocks.0.attn', ('the constant of *', 'of all heads, 0.204124')),
    ('vit_torch', ' * (c // self.heads) ** -0.5', '', 'blocks.0.attn', ('the constant of *', 'left out, 1')),
    ('vit_torch', 'scores.softmax(-1)', 'scores.softmax(-2)', 'blocks.0.attn', ("the softmax's axis", '-2')),
    ('vit_torch', 'q, k, v =', 'k, q, v =', 'blocks.0.attn', ('the order of the parts', 'kqv')),
    ('vit_torch', 'q, k, v =', 'q, v, k =', 'blocks.0.attn', ('the order of the parts', 'qvk')),
    ('vit_torch', 'n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)', 'n, length, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)', 'blocks.0.attn', ('the order in which an axis is split', '[4, 3, 6], by axes [1, 0, 2]')),
    ('vit_torch', 'y.transpose(1, 2).reshape', 'y.reshape', 'blocks.0.attn', None),
    ('vit_torch', 'self.norm(x)[:, 0]', 'self.norm(x)[:, -1]', '', ('the place taken', '-1')),
    ('vit_torch', 'self.norm(x)[:, 0]', 'self.norm(x).mean(1)', '', ('what is taken', 'the mean')),
    ('vit_torch', '[self.token.expand(len(x), -1, -1), x]', '[x, self.token.expand(len(x), -1, -1)]', '', ('the order of concatenation', '[1, 0]')),
    ('vit_torch', 'x = x + self.attn(self.norm1(x))', 'x = self.attn(self.norm1(x))', 'blocks.0', ('the first operand of +', 'left out')),
    ('convnext_paddle', 'epsilon=1e-6', 'epsilon=1e-5', 'blocks.0.norm', ('epsilon', '1e-05')),
    ('convnext_paddle', 'F.gelu(y)', 'F.gelu(y, approximate=True)', 'blocks.0', ('the activation', 'gelu, tanh')),
    ('unet_paddle', 'nn.GroupNorm(4, out_channels)', 'nn.GroupNorm(8, out_channels)', 'down1.norm1', ('the number of groups', '8')),
    ('unet_paddle', '[skip1, self.up1(x)]', '[self.up1(x), skip1]', '', ('the order of concatenation', '[1, 0]')),
    ('vit_paddle', 'F.softmax(scores, -1)', 'F.softmax(scores, -2)', 'blocks.0.attn', ("the softmax's axis", '-2')),
    ('vit_paddle', '[n, length, 3, self.heads, c // self.heads]).transpose([2, 0, 3, 1, 4])', '[n, length, self.heads, 3, c // self.heads]).transpose([3, 0, 2, 1, 4])', 'blocks.0.attn', ('the order in which an axis is split', '[4, 3, 6], by axes [1, 0, 2]')),
    ('vit_paddle', 'x.shape[0], -1, -1]), x], 1)', 'x.shape[0], -1, -1]), x[:, ::-1]], 1)', '', None),
    ('convnext_flax', 'epsilon=1e-6', 'epsilon=1e-5', 'blocks.0.norm', ('epsilon', '1e-05')),
    ('convnext_flax', 'approximate=False', 'approximate=True', 'blocks.0', ('the activation', 'gelu, tanh')),
    ('mobilenetv3_torch', 'F.hardsigmoid(self.conv_expand(y))', '(0.2 * self.conv_expand(y) + 0.5).clamp(0, 1)', 'blocks.0.se', ('the activation', 'hard sigmoid, slope 0.2')),
    ('mobilenetv3_torch', 'F.hardsigmoid(', '(', 'blocks.0.se', ('the activation', 'no activation')),
    ('mobilenetv3_torch', 'F.hardsigmoid(', 'F.sigmoid(', 'blocks.0.se', ('the activation', 'sigmoid')),
    ('mobilenetv3_torch', 'F.hardsigmoid(self.conv_expand(y))', 'F.relu6(self.conv_expand(y) + 3)', 'blocks.0.se', ('the result', 'times 6')),
    ('mobilenetv3_torch', 'F.hardswish if hard else F.relu', 'F.silu if hard else F.relu', 'blocks.3', ('the activation', 'silu')),
    ('mobilenetv3_torch', 'F.hardswish if hard else F.relu', 'F.hardswish', 'blocks.0', ('the activation', 'hard swish')),
    ('resnet18_torch', 'return F.relu(y + self.downsample(x))', 'return y + self.downsample(x)', 'layer1.0', ('the activation', 'no activation')),
    ('unet_torch', 'nn.InstanceNorm2d(out_channels, affine=True)', 'nn.GroupNorm(4, out_channels)', 'down1.norm1', ('the number of groups', '4'), (('self.norm1 = nn.GroupNorm(4, out_channels)', 'self.norm1 = nn.InstanceNorm2d(out_channels, affine=True)'),)),
    ('vit_torch', 'F.scaled_dot_product_attention(q, k, v)', 'F.scaled_dot_product_attention(q, k, v, scale=1)', 'blocks.0.attn', ("attention's scale", 'left out'), (('        scores = q @ k.transpose(2, 3) * (c // self.heads) ** -0.5\n        y = scores.softmax(-1) @ v\n', '        y = F.scaled_dot_product_attention(q, k, v)\n'),)),
    ('lstm_torch', 'self.lstm(self.embedding(x))', 'self.lstm(self.embedding(x).tanh())', '', ('what lstm is given', 'tanh, applied to it')),
]  # fmt: skip


def plant(folder, name, old, new, base=(), mode="eval"):
    """The report on a port with the difference in it."""
    network = name.partition("_")[0]
    texts = {}
    for each in (f"{network}_torch", name):
        texts[each] = (PORTS / f"{each}.py").read_text()
        for before, after in base:
            texts[each] = texts[each].replace(before, after)
    if "torch" in name:
        texts[name] = texts[name].replace("\n\nclass ", f"\n{LAYERS}\n\nclass ", 1)
    original = folder / f"{network}_torch.py"
    original.write_text(texts[f"{network}_torch"] if name != original.stem else texts[name].replace(LAYERS, ""))
    assert old in texts[name], (name, old)
    file = folder / f"{name}_planted.py"
    file.write_text(texts[name].replace(old, new))
    return port(
        *(load_factory(f"{side}:build") for side in (original, file)),
        from_shapes([SHAPES[network]], 0),
        modes=[mode],
        dtypes=["float64"],
        rules=str(PORTS / RULES[name]) if name in RULES else None,
    )


def judge(report, layer, cause):
    """Whether the layer was named, whether the cause was, and whether something was that is not."""
    difference = report.difference
    assert difference is not None
    found = [(each.what, each.port) for each in difference.causes]
    named = cause in found and len(found) <= 4
    at_place = difference.layer.replace("layers.", "") == layer
    return at_place, named, not at_place or (bool(found) and not named)


def main():
    counts = Counter()
    for name, old, new, layer, cause, *more in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            found = judge(plant(Path(folder), name, old, new, *more), layer, cause)
        for what, count in zip(("planted", "layer", "cause", "wrong"), (1, *found), strict=True):
            for row in (name.partition("_")[0], "all"):
                counts[row, what] += count
        if not found[0] or found[2] or not found[1]:
            print(f"{name}: {old!r} -> {new!r}: layer {found[0]}, cause {found[1]}, wrong {found[2]}", flush=True)
    print("| network | planted | the layer named | the cause named | wrongly accused |\n|---|---|---|---|---|")
    for row in (*SHAPES, "all"):
        print(
            f"| {row} | " + " | ".join(str(counts[row, each]) for each in ("planted", "layer", "cause", "wrong")) + " |"
        )


if __name__ == "__main__":
    main()
