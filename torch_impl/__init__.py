"""SE, CBAM, ASPP, SE_ASPP and SEResNet in PyTorch; paddle_impl and flax_impl compute the same functions."""

from .aspp import ASPP
from .cbam import CBAM, ChannelAttention, SpatialAttention
from .fold import fold
from .se import SE
from .se_aspp import SE_ASPP
from .se_resnet import BasicBlock, Bottleneck, SEResNet

__all__ = [
    "ASPP",
    "CBAM",
    "SE",
    "SE_ASPP",
    "BasicBlock",
    "Bottleneck",
    "ChannelAttention",
    "SEResNet",
    "SpatialAttention",
    "fold",
]
