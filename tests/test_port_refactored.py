"""`parity port` and refactorings that are right: they pass; and the same done wrongly: it is found."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.testing import assert_same, to_text


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(12, 12) for _ in range(4))

    def heads(self, x):
        return x.unflatten(-1, (3, 4)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        y = (q @ k.mT * 0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).flatten(2))


class ScaledFirst(Attention):
    def forward(self, x):
        q, k, v = self.heads(self.q(x) * 0.5), self.heads(self.k(x)), self.heads(self.v(x))
        scores = q @ k.mT
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        y = powers @ v / powers.sum(-1, keepdim=True)
        return F.linear(y.transpose(1, 2).flatten(2), self.proj.weight) + self.proj.bias


class Fused(Attention):
    order = ("q", "k", "v")

    def __init__(self, original):
        super().__init__()
        del self.q, self.k, self.v
        parts = [getattr(original, name) for name in self.order]
        self.qkv, self.proj = nn.Linear(12, 36), copy.deepcopy(original.proj)
        with torch.no_grad():
            self.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
            self.qkv.bias.copy_(torch.cat([part.bias for part in parts]))

    def forward(self, x):
        q, k, v = (self.heads(part) for part in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))


class FusedWrongly(Fused):
    order = ("k", "q", "v")

    def forward(self, x):
        return super().forward(x.flip(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def trained(kind):
    torch.manual_seed(0)
    model = kind()
    with torch.no_grad():
        for name, array in (*model.named_parameters(), *model.named_buffers()):
            if array.is_floating_point():
                array.uniform_(0.5, 1.5) if "norm" in name else array.normal_(0, 0.4)
    return model.double().eval()


def folded(model, *, eps=None):
    model = copy.deepcopy(model)
    if eps is not None:
        model.norm.eps = eps
    model.conv, model.norm = fuse_conv_bn_eval(model.conv, model.norm), nn.Identity()
    return model


def test_another_order_of_equal_operations_passes():
    torch.manual_seed(0)
    report = assert_same(Attention, ScaledFirst, from_shapes(["2,5,12"], 0))
    assert {check.dtype for check in report.checks} >= {"float64", "float32"}


def test_fused_query_key_and_value_pass():
    model = trained(Attention)
    report = assert_same(model, Fused(model).double(), from_shapes(["2,5,12"], 0), own_weights=True)
    assert "each its own, not compared" in to_text(report)
    assert {check.what for check in report.checks} == {"outputs", "input gradients"}


def test_a_folded_batch_norm_passes():
    model = trained(Net)
    assert_same(model, folded(model), from_shapes(["2,3,8,8"], 0), own_weights=True, modes=["eval"])


@pytest.mark.parametrize(("build", "wrong", "shape"), [
    (Attention, lambda model: FusedWrongly(model).double(), "2,5,12"),
    (Net, lambda model: folded(model, eps=1e-3), "2,3,8,8"),
])  # fmt: skip
def test_the_same_done_wrongly_is_found(build, wrong, shape):
    model = trained(build)
    report = port(model, wrong(model), from_shapes([shape], 0), own_weights=True, modes=["eval"])
    assert not report.passed
