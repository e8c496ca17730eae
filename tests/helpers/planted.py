"""Differences planted in the ports of examples/ports: which layer is named, and which cause; none may be wrong.

`PYTHONPATH=. python tests/helpers/planted.py` plants them all and prints, for each network, how many were found.
"""

import os
import tempfile
from collections import Counter
from pathlib import Path

import torch

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory

# Before JAX is imported, which computes in float32 alone without.
os.environ.setdefault("JAX_ENABLE_X64", "1")
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
    ('unet_torch', 'return self.head(x)', 'return self.head(x).softmax(1)', '', ('the result', 'softmax over axis -3')),
    ('unet_torch', 'return F.silu(self.norm2(self.conv2(x)))', 'return self.norm2(F.silu(self.conv2(x)))', 'down1', ('what norm2 is given', 'silu, applied to it')),
    ('vit_torch', '(c // self.heads) ** -0.5', 'c ** -0.5', 'blocks.0.attn', ('the constant of *', 'of all heads, 0.204124')),
    ('vit_torch', ' * (c // self.heads) ** -0.5', '', 'blocks.0.attn', ('the constant of *', 'left out, 1')),
    ('vit_torch', 'scores.softmax(-1)', 'scores.softmax(-2)', 'blocks.0.attn', ("the softmax's axis", '-2')),
    ('vit_torch', 'q, k, v =', 'k, q, v =', 'blocks.0.attn', ('the order of the parts', 'kqv')),
    ('vit_torch', 'q, k, v =', 'q, v, k =', 'blocks.0.attn', ('the order of the parts', 'qvk')),
    ('vit_torch', 'n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)', 'n, length, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)', 'blocks.0.attn', ('the order in which an axis is split', '[4, 3, 6], by axes [1, 0, 2]')),
    ('vit_torch', 'y.transpose(1, 2).reshape', 'y.reshape', 'blocks.0.attn', ('the exchange of axes', 'left out')),
    ('vit_torch', 'self.norm(x)[:, 0]', 'self.norm(x)[:, -1]', '', ('the place taken', '-1')),
    ('vit_torch', 'self.norm(x)[:, 0]', 'self.norm(x).mean(1)', '', ('what is taken', 'the mean')),
    ('vit_torch', '[self.token.expand(len(x), -1, -1), x]', '[x, self.token.expand(len(x), -1, -1)]', '', ('the order of concatenation', '[1, 0]')),
    ('vit_torch', 'x = x + self.attn(self.norm1(x))', 'x = self.attn(self.norm1(x))', 'blocks.0', ('the first operand of +', 'left out')),
    # Paddle's float64 LayerNorm is up to 3.5e-12 from PyTorch's, which hides what of the difference is epsilon's.
    ('convnext_paddle', 'epsilon=1e-6', 'epsilon=1e-5', 'blocks.0.norm', None),
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
    ('vit_torch', 'batch_first=True)', 'batch_first=False)', 'blocks.0.attn', ('the exchange of axes', 'left out'), (('self.attn = Attention(width, heads)', 'self.attn = nn.MultiheadAttention(width, heads, batch_first=True)'), ('self.attn(self.norm1(x))', 'self.attn(*[self.norm1(x)] * 3)[0]'))),
    ('resnet18_torch', 'F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)', 'F.avg_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)', '', ('the pool', 'average')),
    ('mobilenetv3_torch', 'self.se(self.act(self.bn2(self.conv_dw(y))))', 'self.act(self.se(self.bn2(self.conv_dw(y))))', 'blocks.0', ('the activation', 'no activation')),
    ('resnet18_torch', 'F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)', 'F.max_pool2d(F.pad(F.relu(self.bn1(self.conv1(x))), (0, 1, 0, 1)), 3, 2)', '', ('padding', '"SAME", padded [(0, 1), (0, 1)]')),
    ('lstm_torch', 'y.mean(1)', 'y[:, -1]', '', ('the reduction', 'the last alone')),
    ('swin_torch', '-100.0 * (', '-1.0 * (', 'blocks.1', ('what attn is given', 'times 0.01')),
    ('swin_torch', '-100.0 * (', '100.0 * (', 'blocks.1', ('what attn is given', 'times -1')),
    ('vit_torch', 'torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position', 'torch.cat([self.token.expand(len(x), -1, -1), x + self.position[:, 1:]], 1)', '', None),
    ('resnet18_torch', 'F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)', 'F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2, 2)', '', ('the window', '(2, 2), stride (2, 2), padding (0, 0)')),
    ('swin_torch', 'window, w // window, window, c)\n    return x.permute(0, 1, 3, 2, 4, 5)', 'window, w // window, window, c)\n    return x.permute(0, 1, 3, 4, 2, 5)', 'blocks.0', ('the order in which axes are merged', '[4, 4], by axes [1, 0]')),
    ('unet_torch', 'self.head = nn.Conv2d(width, classes, 1)', 'self.head = nn.Conv2d(width, classes, 1, bias=False)', 'head', ("the convolution's bias", 'left out')),
    ('swin_torch', 'self.norm(x).mean((1, 2))', 'self.norm(x).amax((1, 2))', '', ('the reduction', 'amax')),
    ('lstm_torch', 'y.mean(1)', 'y.sum(1)', '', ('the reduction', 'sum')),
    ('swin_torch', '        scores = scores + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)\n', '', 'blocks.0.attn', ('the second operand of +', 'left out')),
    ('vit_torch', '            x = block(x)\n        return', '            x = self.blocks[0](x)\n        return', '', None),
    ('resnet18_torch', 'x.mean((2, 3))', 'x[..., 0, 0]', '', None),
    ('convnext_torch', 'self.head(self.norm(x.mean((2, 3))))', 'self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))', '', ('what norm is given', 'what blocks gives, by axes [0, 2, 3, 1]')),
    ('vit_torch', 'n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)', 'n, length, 3, c // self.heads, self.heads).permute(2, 0, 4, 1, 3)', 'blocks.0.attn', ('the order in which an axis is split', '[3, 6, 4], by axes [0, 2, 1]')),
    ('mobilenetv3_torch', 'x.mean((2, 3), keepdim=True)', 'x.amax((2, 3), keepdim=True)', 'blocks.0.se', ('the reduction', 'amax')),
    ('unet_torch', 'self.norm2(self.conv2(x))', 'self.conv2(x)', 'down1', ('the call of norm2', 'left out')),
    ('vit_torch', 'self.norm = nn.LayerNorm(width, eps=1e-6)', 'self.norm = Unbiased(width, eps=1e-6)', 'norm', ('the variance', 'over n - 1')),
    ('vit_torch', 'self.norm2 = nn.LayerNorm(width, eps=1e-6)', 'self.norm2 = nn.LayerNorm(width, eps=1e-6, bias=False)', 'blocks.0.norm2', ("the norm's bias", 'left out')),
    ('unet_torch', 'F.max_pool2d(skip1, 3, 2, 1)', 'F.max_pool2d(F.pad(skip1, (1, 1, 1, 1)), 3, 2)', '', ('what is padded', 'zeros'), (('F.max_pool2d(skip1, 2)', 'F.max_pool2d(skip1, 3, 2, 1)'),)),
    ('unet_torch', 'affine=True)', 'affine=True, eps=1e-3)', 'down1.norm1', ('epsilon', '0.001'), (('self.norm1 = nn.GroupNorm(4, out_channels)', 'self.norm1 = nn.InstanceNorm2d(out_channels, affine=True)'),)),
    ('mobilenetv3_torch', 'F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))', 'self.conv_reduce(x.mean((2, 3), keepdim=True))', 'blocks.0.se', ('the activation', 'no activation')),
    ('resnet18_torch', 'x.flatten(1)', 'x.permute(0, 1, 3, 2).flatten(1)', '', ('the order in which axes are merged', '[64, 2, 2], by axes [0, 2, 1]'), (('self.fc(x.mean((2, 3)))', 'self.fc(x.flatten(1))'), ('nn.Linear(8 * width', 'nn.Linear(32 * width'))),
    ('convnext_torch', 'self.dwconv = nn.Conv2d(', 'self.dwconv = Exchanged(', 'blocks.0.dwconv', ('the kernel', 'with height and width exchanged')),
    ('lstm_torch', 'self.fc(y.mean(1))', 'self.fc(y.mean(1).relu())', '', ('what fc is given', 'relu, applied to it')),
    ('vit_torch', '(c // self.heads) ** -0.5', '(c // self.heads) ** -1', 'blocks.0.attn', ('the constant of *', 'its square, 0.166667')),
    ('swin_torch', 'self.reduction(self.norm(x))', 'self.reduction(x)', 'merge', ('the call of norm', 'left out')),
    ('mobilenetv3_torch', 'return self.classifier(x.flatten(1))', 'return self.classifier(x.flatten(1)).softmax(-1)', '', ('the result', 'softmax over axis -1')),
    ('unet_torch', '3, padding=1)', "3, padding=1, padding_mode='replicate')", 'down1.conv1', ('what is padded', 'replicate')),
    ('vit_torch', 'nn.Linear(width, 3 * width)', 'nn.Linear(width, 3 * width, bias=False)', 'blocks.0.attn.qkv', ("the linear layer's bias", 'left out')),
    ('vit_torch', 'scores.softmax(-1)', 'scores', 'blocks.0.attn', ('the softmax', 'left out')),
    ('resnet18_torch', 'x.flatten(1)', 'x.permute(0, 2, 3, 1).flatten(1)', '', ('the order in which axes are merged', '[2, 2, 64], by axes [1, 2, 0]'), (('self.fc(x.mean((2, 3)))', 'self.fc(x.flatten(1))'), ('nn.Linear(8 * width', 'nn.Linear(32 * width'))),
    ('convnext_torch', 'return x + (self.gamma * y)', 'return x - (self.gamma * y)', 'blocks.0', ('the operation', '-')),
    ('unet_torch', 'self.up2 = nn.ConvTranspose2d(', 'self.up2 = MirroredTransposed(', 'up2', ('the kernel', 'with height and width exchanged')),
    ('convnext_torch', 'self.blocks(self.stem(x))', 'self.blocks(self.stem(x / 255))', '', ('what stem is given', 'times 0.00392157')),
    ('unet_torch', 'F.max_pool2d(skip2, 2)', "F.interpolate(skip2, scale_factor=0.5, mode='bilinear')", '', ('the pool', 'average')),
    ('swin_torch', '(c // self.heads) ** -0.5', 'c ** -0.5', 'blocks.0.attn', ('the constant of *', 'of all heads, 0.288675')),
    ('unet_torch', 'size=skip1.shape[2:])', "size=skip1.shape[2:], mode='nearest-exact')", '', ('the interpolation', 'nearest-exact'), (('self.up1(x)]', 'F.interpolate(self.up1(x)[..., ::3, ::3], size=skip1.shape[2:])]'),)),
    ('convnext_torch', 'y = self.dwconv(x).permute(0, 2, 3, 1)', 'y = self.dwconv(x).permute(0, 3, 2, 1)', 'blocks.0', ('the order of axes', '[0, 2, 1, 3] of these')),
    ('resnet18_torch', 'self.bn1 = nn.BatchNorm2d(width)', 'self.bn1 = BiasedRunning(width)', 'bn1', ('the running variance', 'of n'), (), 'train'),
    ('lstm_torch', 'self.fc(y.mean(1))', 'self.fc(torch.cat(y.chunk(2, -1)[::-1], -1).mean(1))', '', ('what fc is given', 'the halves of axis 1 exchanged')),
    ('resnet18_torch', 'F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)', 'F.relu(self.bn1(self.conv1(x)))', '', ('the pool', 'left out')),
    ('mobilenetv3_torch', 'self.bn1(self.conv_pw(x))', 'self.conv_pw(x)', 'blocks.0', ('the call of bn1', 'left out')),
    ('mobilenetv3_torch', 'F.hardswish(self.bn1(self.conv_stem(x)))', 'self.bn1(F.hardswish(self.conv_stem(x)))', '', ('what bn1 is given', 'hard swish, applied to it')),
    ('lstm_torch', 'y, _ = self.lstm(self.embedding(x))', 'y = self.lstm(self.embedding(x))[1][0][-2:].transpose(0, 1).reshape(len(x), 1, -1)', '', None),
    ('vit_torch', 'nn.MultiheadAttention(width, heads,', 'nn.MultiheadAttention(width, 2 * heads,', 'blocks.0.attn', ('the number of heads', '8'), (('self.attn = Attention(width, heads)', 'self.attn = nn.MultiheadAttention(width, heads, batch_first=True)'), ('self.attn(self.norm1(x))', 'self.attn(*[self.norm1(x)] * 3)[0]'))),
    ('convnext_torch', 'self.blocks(self.stem(x))', 'self.blocks(F.gelu(self.stem(x)))', '', ('what blocks is given', 'gelu, erf, applied to it')),
    ('unet_torch', "mode='bilinear')", "mode='bilinear', antialias=True)", '', ('the interpolation', 'bilinear, antialias'), (('F.max_pool2d(skip1, 2)', "F.interpolate(skip1, scale_factor=0.5, mode='bilinear')"),)),
    ('unet_torch', 'return self.head(x)', 'return self.head(x).log_softmax(1)', '', ('the result', 'log_softmax over axis -3')),
    ('unet_torch', 'return self.head(x)', 'return self.head(x).sigmoid()', '', ('the result', 'sigmoid, applied to it')),
    ('convnext_torch', 'self.pwconv1(self.norm(y))', 'self.norm(y)@self.pwconv1.weight.T', 'blocks.0', None),
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
    torch.manual_seed(0)
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
