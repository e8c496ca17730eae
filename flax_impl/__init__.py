"""SE, CBAM, ASPP and SE_ASPP in Flax (NNX); torch_impl and paddle_impl compute the same functions."""

from .aspp import ASPP
from .cbam import CBAM, ChannelAttention, SpatialAttention
from .se import SE
from .se_aspp import SE_ASPP

__all__ = ["ASPP", "CBAM", "SE", "SE_ASPP", "ChannelAttention", "SpatialAttention"]
