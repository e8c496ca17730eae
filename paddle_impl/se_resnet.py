"""ResNets that carry Squeeze-and-Excitation, or CBAM, in their residual blocks."""

from collections.abc import Sequence

from paddle import Tensor, nn

from .cbam import CBAM
from .checks import check_blocks, check_choice, check_classes, check_input, check_size
from .layers import BatchNorm, Sequential, conv2d, max_pool, mean_hw, relu
from .se import SE

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
PLACEMENTS = ("standard", "pre", "post", "identity", "conv")
ATTENTIONS = ("se", "cbam")
OUTPUT_STRIDES = (32, 16, 8)


class Block(nn.Layer):
    """The base of BasicBlock and Bottleneck: the sum, and the attention's place.

    Block(x) = post(relu(standard(branch(pre(x))) + downsample(identity(x))))

    where `se` stands at the one of these names that is the block's placement, the others change nothing, and `conv` is
    in the branch, between its last convolution and that one's norm. `downsample` is there where shapes differ.
    """

    expansion = 1

    def attend(self, x: Tensor, place: str) -> Tensor:
        """Attention over x where `place` is the block's."""
        return self.se(x) if self.placement == place and self.se is not None else x

    def forward(self, x: Tensor) -> Tensor:
        check_input(x.shape, "nchw", self.channels)
        y = self.attend(self.branch(self.attend(x, "pre")), "standard")
        shortcut = self.attend(x, "identity")
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        return self.attend(relu(y + shortcut), "post")


class BasicBlock(Block):
    """Two 3x3 convolutions, the block of ResNet-18 and -34.

    branch(x) = bn2(conv2(relu(bn1(conv1(x)))))

    Args:
        channels: the number of channels of the input.
        width: the number of channels of the convolutions; the output has expansion * width.
        stride: the stride of the first 3x3 convolution.
        dilation: the dilation of the 3x3 convolutions.
        first_dilation: the dilation of the first one where it differs; None is `dilation`.
        placement: where the attention stands, one of PLACEMENTS; see Block.
        attention: "se", "cbam" or None.
        reduction: the attention's bottleneck is its channels // reduction wide.
        min_hidden: the least width of that bottleneck; None sets none.
        momentum: the batch norms' weight of the new value.
        name: what an error calls this block.

    Shape: (n, c, h, w) to (n, o, p, q), where o = expansion * width, p = ceil(h / stride) and q = ceil(w / stride).

    Raises:
        ValueError: for an argument out of range, an input of another rank or width; in train mode for one value per
            channel.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        placement: str = "standard",
        attention: str | None = "se",
        reduction: int = 16,
        min_hidden: int | None = None,
        momentum: float = 0.1,
        name: str = "BasicBlock",
    ) -> None:
        super().__init__()
        channels, width = check_size("channels", channels), check_size("width", width)
        stride, dilation = check_size("stride", stride), check_size("dilation", dilation)
        first_dilation = dilation if first_dilation is None else check_size("first_dilation", first_dilation)
        out_channels = self.expansion * width
        self.channels = channels
        self.placement = check_choice("placement", placement, PLACEMENTS)
        self.conv1 = conv2d(channels, width, 3, stride=stride, dilation=first_dilation, bias=False)
        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1")
        self.conv2 = conv2d(width, width, 3, dilation=dilation, bias=False)
        self.bn2 = BatchNorm(width, momentum=momentum, name=f"{name}.bn2")
        attended = channels if placement in ("pre", "identity") else out_channels
        self.se = build_attention(attention, attended, reduction=reduction, min_hidden=min_hidden)
        self.downsample = build_downsample(channels, out_channels, stride=stride, momentum=momentum, name=name)

    def branch(self, x: Tensor) -> Tensor:
        """The residual: what is added to the shortcut."""
        y = relu(self.bn1(self.conv1(x)))
        return self.bn2(self.attend(self.conv2(y), "conv"))


class Bottleneck(Block):
    """A 3x3 convolution between two of 1x1, the block of ResNet-50, -101 and -152; the stride is in the 3x3.

    branch(x) = bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x))))))))

    Args:
        channels, stride, placement, attention, reduction, min_hidden, momentum, name: see BasicBlock.
        width: the number of channels of the first two convolutions; the output has expansion * width.
        dilation: the dilation of the 3x3 convolution, unless `first_dilation` is given.
        first_dilation: the dilation of the 3x3 convolution; None leaves it to `dilation`.

    Shape: (n, c, h, w) to (n, o, p, q), where o = expansion * width, p = ceil(h / stride) and q = ceil(w / stride).

    Raises:
        ValueError: as BasicBlock does.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        placement: str = "standard",
        attention: str | None = "se",
        reduction: int = 16,
        min_hidden: int | None = None,
        momentum: float = 0.1,
        name: str = "Bottleneck",
    ) -> None:
        super().__init__()
        channels, width = check_size("channels", channels), check_size("width", width)
        stride, dilation = check_size("stride", stride), check_size("dilation", dilation)
        first_dilation = dilation if first_dilation is None else check_size("first_dilation", first_dilation)
        out_channels = self.expansion * width
        self.channels = channels
        self.placement = check_choice("placement", placement, PLACEMENTS)
        self.conv1 = conv2d(channels, width, 1, bias=False)
        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1")
        self.conv2 = conv2d(width, width, 3, stride=stride, dilation=first_dilation, bias=False)
        self.bn2 = BatchNorm(width, momentum=momentum, name=f"{name}.bn2")
        self.conv3 = conv2d(width, out_channels, 1, bias=False)
        self.bn3 = BatchNorm(out_channels, momentum=momentum, name=f"{name}.bn3")
        attended = channels if placement in ("pre", "identity") else out_channels
        self.se = build_attention(attention, attended, reduction=reduction, min_hidden=min_hidden)
        self.downsample = build_downsample(channels, out_channels, stride=stride, momentum=momentum, name=name)

    def branch(self, x: Tensor) -> Tensor:
        """The residual: what is added to the shortcut."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        return self.bn3(self.attend(self.conv3(y), "conv"))


class SEResNet(nn.Layer):
    """A ResNet whose blocks carry Squeeze-and-Excitation or CBAM.

    SEResNet(x) = fc(mean_hw(layer4(layer3(layer2(layer1(stem(x)))))))

    The stem is a 7x7 convolution of stride 2, batch norm, ReLU and a 3x3 max pool of stride 2; stages 2 to 4 begin with
    a stride of 2. Names are torchvision's; a block's attention is called `se`, whichever it is.

    Args:
        depth: 18 or 34 (basic blocks), 50, 101 or 152 (bottlenecks).
        placement: where a block's attention stands. "standard": after its last norm, before the sum; "pre": before its
            first convolution; "post": after the sum and its ReLU; "identity": on the shortcut, before its projection;
            "conv": between its last convolution and that one's norm.
        where: which blocks have attention: "all", or the names of stages and blocks, as ("layer3", "layer4.0"); ()
            is a plain ResNet.
        attention: "se" or "cbam".
        reduction: the attention's bottleneck is its channels // reduction wide.
        min_hidden: the least width of that bottleneck; timm's seresnets have 8, None sets none.
        num_classes: the outputs of fc; 0 leaves it out and gives the features.
        in_channels: the number of channels of the input.
        width: the number of channels of the stem and of the first stage's blocks; each later stage doubles it.
        small_stem: a 3x3 convolution of stride 1 and no max pool instead, for images of some ten pixels.
        output_stride: 32, or 16 or 8 to dilate the last or the last two stages instead of their strides, as
            segmentation heads want it; a small stem quarters it.
        momentum: the batch norms' weight of the new value.

    Shape: (n, in_channels, h, w) to (n, num_classes), or to the features (n, stage_channels[-1]).

    Raises:
        ValueError: for an argument out of range, an input of another rank or width; in train mode for a batch norm
            over one value per channel.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385;
    Hu, Shen and Sun, "Squeeze-and-Excitation Networks", 2018, https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self,
        depth: int,
        *,
        placement: str = "standard",
        where: str | Sequence[str] = "all",
        attention: str = "se",
        reduction: int = 16,
        min_hidden: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        small_stem: bool = False,
        output_stride: int = 32,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        counts = DEPTHS[check_choice("depth", depth, tuple(DEPTHS))]
        attended = check_blocks("where", where, counts)
        dilated = OUTPUT_STRIDES.index(check_choice("output_stride", output_stride, OUTPUT_STRIDES))
        check_choice("attention", attention, ATTENTIONS)
        num_classes = check_classes("num_classes", num_classes)
        width = check_size("width", width)
        block = BasicBlock if depth < 50 else Bottleneck
        self.channels = check_size("in_channels", in_channels)
        self.small_stem = small_stem
        self.stage_channels = tuple(block.expansion * width * 2**i for i in range(4))
        side, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = conv2d(self.channels, width, side, stride=stride, bias=False)
        self.bn1 = BatchNorm(width, momentum=momentum, name="SEResNet.bn1")
        channels, dilation, stages = width, 1, []
        for i, count in enumerate(counts):
            # A stage that dilates keeps the map where it would have halved it; its striding convolution still sees
            # what it would have, at the dilation of the stage before.
            stride, first_dilation = 1 if i == 0 or i >= 4 - dilated else 2, dilation
            dilation = dilation * 2 if i >= 4 - dilated else dilation
            blocks = []
            for j in range(count):
                name = f"layer{i + 1}.{j}"
                blocks.append(
                    block(
                        channels,
                        width * 2**i,
                        stride=stride if j == 0 else 1,
                        dilation=dilation,
                        first_dilation=first_dilation if j == 0 else dilation,
                        placement=placement,
                        attention=attention if name in attended else None,
                        reduction=reduction,
                        min_hidden=min_hidden,
                        momentum=momentum,
                        name=f"SEResNet.{name}",
                    )
                )
                channels = self.stage_channels[i]
            stages.append(Sequential(blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, num_classes) if num_classes else None

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage gets: (n, width, h / 4, w / 4), or of the input's size with a small stem."""
        check_input(x.shape, "nchw", self.channels)
        y = relu(self.bn1(self.conv1(x)))
        return y if self.small_stem else max_pool(y)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The map after each of the four stages, for use as a backbone; `stage_channels` are their widths."""
        y = self.stem(x)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            y = layer(y)
            maps.append(y)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        y = mean_hw(self.stages(x)[-1]).flatten(1)  # n c
        return y if self.fc is None else self.fc(y)


def build_attention(
    attention: str | None, channels: int, *, reduction: int, min_hidden: int | None
) -> SE | CBAM | None:
    """The attention of that name over `channels`, or None."""
    reduction = check_size("reduction", reduction)
    hidden = None if min_hidden is None else max(check_size("min_hidden", min_hidden), channels // reduction)
    if attention is None:
        return None
    module = SE if check_choice("attention", attention, ATTENTIONS) == "se" else CBAM
    return module(channels, reduction=reduction, hidden=hidden)


def build_downsample(channels: int, out_channels: int, *, stride: int, momentum: float, name: str) -> Sequential | None:
    """The shortcut's projection, a 1x1 convolution and its norm, or None where the shapes are the same."""
    if stride == 1 and channels == out_channels:
        return None
    conv = conv2d(channels, out_channels, 1, stride=stride, bias=False)
    return Sequential([conv, BatchNorm(out_channels, momentum=momentum, name=f"{name}.downsample.1")])
