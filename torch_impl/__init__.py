"""SE, CBAM, ASPP and SE_ASPP in PyTorch; paddle_impl and flax_impl compute the same functions."""

from .aspp import ASPP
from .cbam import CBAM, ChannelAttention, SpatialAttention
from .se import SE
from .se_aspp import SE_ASPP

__all__ = ["ASPP", "CBAM", "SE", "SE_ASPP", "ChannelAttention", "SpatialAttention"]
