"""Squeeze-and-Excitation."""

from paddle import Tensor, nn

from .checks import check_gate, check_hidden, check_input, check_size
from .layers import apply_gate, conv2d, mean_hw, relu


class SE(nn.Layer):
    """Squeeze-and-Excitation: each channel is scaled by a gate computed from all channels' means.

    scale(x) = gate(fc2(relu(fc1(mean_hw(x))))) and SE(x) = x * scale(x)

    Args:
        channels: the number of channels c.
        reduction: the bottleneck is c // reduction wide, unless `hidden` is given.
        hidden: the width of the bottleneck; None leaves it to `reduction`.
        bias: whether fc1 and fc2 add one.
        gate: "sigmoid", or "hard_sigmoid" for clip(slope * x + 0.5, 0, 1).
        slope: the hard sigmoid's; 1/6 in PyTorch and MobileNetV3's paper, 0.2 in PaddleClas.

    Shape: (n, c, h, w) to the same; `scale` gives (n, c, 1, 1).

    Raises:
        ValueError: for an argument out of range, a bottleneck narrower than 1, an input of another rank or width.

    Hu, Shen and Sun, "Squeeze-and-Excitation Networks", 2018, https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        bias: bool = True,
        gate: str = "sigmoid",
        slope: float = 1 / 6,
    ) -> None:
        super().__init__()
        channels = check_size("channels", channels)
        hidden = check_hidden(channels, reduction, hidden)
        check_gate(gate, slope)
        self.channels = channels
        self.gate = gate
        self.slope = slope
        self.fc1 = conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = conv2d(hidden, channels, 1, bias=bias)

    def scale(self, x: Tensor) -> Tensor:
        """The attention map alone: one factor in [0, 1] for each channel."""
        check_input(x.shape, "nchw", self.channels)
        y = mean_hw(x)  # n c 1 1
        y = self.fc2(relu(self.fc1(y)))
        return apply_gate(y, self.gate, self.slope)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)
