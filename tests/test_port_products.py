"""`parity port` where float64 agrees and float32 does not: products of rounded operands, the layer and the precision."""

import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.testing import to_text


def tf32(x):
    """To 11 significant bits, as a GPU rounds before it multiplies; float64 is left alone."""
    if x.dtype != torch.float32:
        return x
    words = x.detach().view(torch.int32) + 0x1000
    return x + ((words & ~0x1FFF).view(torch.float32) - x).detach()


class Conv(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(tf32(x), tf32(self.weight), self.bias)


class Net(nn.Module):
    def __init__(self, conv=nn.Conv2d, linear=nn.Linear):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3), conv(16, 16, 3)
        self.head = linear(16, 4)

    def forward(self, x):
        return self.head(F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))


class Rough(nnx.Linear):
    def __call__(self, x):
        if x.dtype != jnp.float32:
            return super().__call__(x)
        x, kernel = x.astype(jnp.bfloat16), self.kernel[...].astype(jnp.bfloat16)
        return jnp.dot(x, kernel, preferred_element_type=jnp.float32) + self.bias[...]


class Flax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv1, self.conv2 = (nnx.Conv(n, 16, (3, 3), padding="VALID", rngs=rngs) for n in (3, 16))
        self.head = Rough(16, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.conv2(nnx.relu(self.conv1(x)))).mean((1, 2)))


@pytest.mark.parametrize(
    ("other", "layer", "precision"),
    [
        (lambda: Net(conv=Conv), "conv2", "TF32, 11 bits"),
        (Flax, "head", "bfloat16, 8 bits"),
    ],
)
def test_the_layer_and_the_precision_of_its_products_are_named(other, layer, precision):
    report = port(Net, other, from_shapes(["2,3,10,10"], 0), modes=["eval"])
    assert {check.dtype for check in report.checks if not check.passed} == {"float32"}
    assert report.difference.layer == layer
    (cause,) = report.difference.causes
    assert (cause.what, cause.original, cause.port) == ("the precision of products", "float32", precision)
    assert "float32 alone" in to_text(report)


def test_another_loss_of_precision_is_no_product():
    class Coarse(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y * (1 + 1e-4) if y.dtype == torch.float32 else y

    report = port(Net, lambda: Net(linear=Coarse), from_shapes(["2,3,10,10"], 0), modes=["eval"])
    assert report.difference.layer == "head"
    assert not report.difference.causes
