"""ASPP whose concatenated branches pass through Squeeze-and-Excitation."""

from collections.abc import Sequence

from torch import Tensor

from .aspp import ASPP
from .se import SE


class SE_ASPP(ASPP):
    """ASPP with Squeeze-and-Excitation over the concatenated branches, before the projection.

    SE_ASPP(x) = dropout(project(se(features(x)))) with se over (2 + len(rates)) * out_channels channels

    Args:
        channels, out_channels, rates, dropout, momentum: see ASPP.
        reduction: the SE bottleneck is (2 + len(rates)) * out_channels // reduction wide.
        bias: whether the branches' and the projection's convolutions add one; SE's always do.

    Shape: (n, c, h, w) to (n, o, h, w).

    Raises:
        ValueError: as ASPP and SE do.

    Chen et al., https://arxiv.org/abs/1706.05587, and Hu et al., https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        rates: Sequence[int] = (6, 12, 18),
        reduction: int = 16,
        bias: bool = True,
        dropout: float = 0.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(channels, out_channels, rates=rates, bias=bias, dropout=dropout, momentum=momentum)
        self.se = SE((len(self.branches) + 1) * out_channels, reduction=reduction)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(self.se(self.features(x))))
