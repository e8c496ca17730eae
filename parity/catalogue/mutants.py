"""The slips: each is one line of an implementation as somebody might have written it, and must be caught.

A slip is data: the file, the text and what stands there instead in each framework, and one case and check that can see
it. Where a framework is left out the slip cannot be made in it: a Flax array cannot be aliased, for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Edit = tuple[str, str]


@dataclass(frozen=True)
class Mutant:
    """One slip; `file` is of the implementation, or names the driver's code (see `mutation.mutate`)."""

    name: str
    file: str
    case: str
    edits: Mapping[str, Edit]
    check: str = "forward"
    dtype: str = "float64"
    modes: tuple[str, ...] = ()


def _all(old: str, new: str) -> dict[str, Edit]:
    """The same words in the three frameworks."""
    return dict.fromkeys(("torch", "paddle", "flax"), (old, new))


def _each(torch: Edit, paddle: Edit, flax: Edit) -> dict[str, Edit]:
    return {"torch": torch, "paddle": paddle, "flax": flax}


def _relu(inner: str, outer: str) -> dict[str, Edit]:
    """The same words but for the name of ReLU's home; `@` stands for it."""
    homes = {"torch": "F", "paddle": "F", "flax": "nnx"}
    return {name: (inner.replace("@", home), outer.replace("@", home)) for name, home in homes.items()}


_SCALED = "return x * self.scale(x)"
_STOP = '__import__("jax").lax.stop_gradient(self.scale(x))'
_PADDING = "padding = dilation * (kernel_size // 2)"
_MEAN = (
    "return x.mean((2, 3), keepdim=True)",
    "return x.mean(3, keepdim=True).mean(2, keepdim=True)",
    "return x.mean((1, 2), keepdims=True)",
)
_CONV_IN = (
    "self.conv(torch.cat((mean, amax), 1))",
    "self.conv(paddle.concat((mean, amax), 1))",
    "self.conv(jnp.concatenate((mean, amax), -1))",
)


def _mean(torch: str, paddle: str, flax: str) -> dict[str, Edit]:
    """Other words for the mean over the map."""
    return _each((_MEAN[0], f"return {torch}"), (_MEAN[1], f"return {paddle}"), (_MEAN[2], f"return {flax}"))


def _around(torch: str, paddle: str, flax: str) -> dict[str, Edit]:
    """The spatial convolution between two turns of the map."""
    words = zip(_CONV_IN, (torch, paddle, flax), strict=True)
    return _each(*((old, f"{old[:-1]}{turn}){turn}") for old, turn in words))


# fmt: off
MUTANTS: tuple[Mutant, ...] = (
    # Batch norm.
    Mutant("epsilon 2e-5", "layers.py", "CBAM/norm", _all("EPSILON = 9.999999747378752e-06", "EPSILON = 1.9999999494757503e-05")),
    Mutant("epsilon 1e-3", "layers.py", "ASPP/one-rate", _all("EPSILON = 9.999999747378752e-06", "EPSILON = 0.0010000000474974513")),
    Mutant("epsilon 2e-5 in float32", "layers.py", "SpatialAttention/norm-constant", _all("EPSILON = 9.999999747378752e-06", "EPSILON = 1.9999999494757503e-05"), dtype="float32"),
    Mutant("momentum of the old value", "layers.py", "CBAM/norm", _each(
        ('momentum=check_fraction("momentum", momentum)', 'momentum=1 - check_fraction("momentum", momentum)'),
        ('self.momentum = check_fraction("momentum", momentum)', 'self.momentum = 1 - check_fraction("momentum", momentum)'),
        ("momentum=1 - momentum", "momentum=momentum"))),
    Mutant("momentum left at its default", "layers.py", "CBAM/options", _each(
        (', momentum=check_fraction("momentum", momentum)', ""),
        ('self.momentum = check_fraction("momentum", momentum)', "self.momentum = 0.1"),
        ("momentum=1 - momentum", "momentum=0.99"))),
    Mutant("biased running variance", "layers.py", "CBAM/norm", _each(
        ("        return super().forward(x)", "        y = super().forward(x)\n        self.running_var.sub_(self.momentum * x.var((0, 2, 3)) / x[:, 0].numel() if self.training else 0)\n        return y"),
        ("if not kernel_gives_unbiased_variance(paddle.get_device()):", "if False:"),
        ("/ (count - 1)", "* 0"))),
    Mutant("running values stand still", "layers.py", "CBAM/norm", _each(
        ('momentum=check_fraction("momentum", momentum)', "momentum=0.0"),
        ("paddle.assign(self._mean + momentum * (mean - self._mean), self._mean)", "pass"),
        ("momentum=1 - momentum", "momentum=1.0"))),
    Mutant("fast variance", "layers.py", "ASPP/offset", {"flax": ("use_fast_variance=False", "use_fast_variance=True")}, dtype="float32"),
    Mutant("batch statistics in eval mode", "layers.py", "CBAM/norm", _each(
        ("        return super().forward(x)", "        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)"),
        ("        return super().forward(x)", "        return self.normalise_and_track(x, x.size // x.shape[1])"),
        ("        if self.use_running_average:", "        if False:"))),
    Mutant("norm left out", "cbam.py", "CBAM/norm", _all("y = self.norm(y)", "y = y * 1")),
    # Convolutions.
    Mutant("padding not dilated", "layers.py", "ASPP/one-rate", _all(_PADDING, "padding = kernel_size // 2")),
    Mutant("no dilation", "layers.py", "ASPP/one-rate", _all(_PADDING, "dilation = 1; padding = kernel_size // 2")),
    Mutant("dilation one too large", "aspp.py", "ASPP/one-rate", _all("dilation=rate,", "dilation=rate + 1,")),
    Mutant("rates beyond the first doubled", "aspp.py", "ASPP/four-rates", _all("dilation=rate,", "dilation=rate if i == 1 else 2 * rate,")),
    Mutant("circular padding", "layers.py", "SpatialAttention/default", _each(
        ("dilation=dilation, bias=bias)", 'dilation=dilation, bias=bias, padding_mode="circular")'),
        ("bias_attr=bias_attr", 'bias_attr=bias_attr, padding_mode="circular"'),
        ("padding=padding,", 'padding="CIRCULAR",'))),
    Mutant("stride 2", "layers.py", "SpatialAttention/default", _each(
        ("kernel_size, stride, padding", "kernel_size, 2, padding"),
        ("kernel_size, stride, padding", "kernel_size, 2, padding"),
        ("side, stride, padding", "side, 2, padding"))),
    Mutant("missing bias", "layers.py", "SE/default", _each(
        ("bias=bias)", "bias=False)"), ("bias_attr=bias_attr", "bias_attr=False"), ("use_bias=bias", "use_bias=False"))),
    Mutant("kernel height and width exchanged", "cbam.py", "SpatialAttention/default", _around(".transpose(2, 3)", ".transpose([0, 1, 3, 2])", ".swapaxes(1, 2)")),
    Mutant("kernel flipped", "cbam.py", "SpatialAttention/default", _around(".flip((2, 3))", ".flip([2, 3])", "[:, ::-1, ::-1]")),
    Mutant("square matrix transposed", "se.py", "SE/square", _each(
        ("self.fc1(y)", "F.conv2d(y, self.fc1.weight.transpose(0, 1), self.fc1.bias)"),
        ("self.fc1(y)", "F.conv2d(y, self.fc1.weight.transpose([1, 0, 2, 3]), self.fc1.bias)"),
        ("self.fc1(y)", "y @ self.fc1.kernel[0, 0].T + self.fc1.bias[...]"))),
    # Squeeze-and-Excitation.
    Mutant("maximum for mean", "layers.py", "SE/default", _mean("x.amax((2, 3), keepdim=True)", "x.amax((2, 3), keepdim=True)", "x.max((1, 2), keepdims=True)")),
    Mutant("mean over one axis alone", "layers.py", "SE/default", _mean("x.mean(3, keepdim=True)[:, :, :1]", "x.mean(3, keepdim=True)[:, :, :1]", "x.mean(2, keepdims=True)[:, :1]")),
    Mutant("missing ReLU", "se.py", "SE/default", _relu("@.relu(self.fc1(y))", "self.fc1(y)")),
    Mutant("leaky ReLU", "se.py", "SE/default", _relu("@.relu(self.fc1(y))", "@.leaky_relu(self.fc1(y))")),
    Mutant("gate's slope", "layers.py", "SE/hard-sigmoid", _each(("(slope * x + 0.5)", "(0.2 * x + 0.5)"), ("(slope * x + 0.5)", "(0.2 * x + 0.5)"), ("y = slope * x + 0.5", "y = 0.2 * x + 0.5"))),
    Mutant("gate without its upper end", "layers.py", "SE/hard-sigmoid", _each((".clamp(0, 1)", ".clamp(0, 6)"), (".clip(0, 1)", ".clip(0, 6)"), ("jnp.where(y > 1, 1, y)", "y"))),
    Mutant("hard gate for sigmoid", "se.py", "SE/default", _all("apply_gate(y, self.gate, self.slope)", 'apply_gate(y, "hard_sigmoid", self.slope)')),
    Mutant("residual added", "se.py", "SE/default", _all(_SCALED, "return x + x * self.scale(x)")),
    Mutant("one NaN", "se.py", "SE/integers", _all(_SCALED, "return x * self.scale(x) * (x / x)")),
    Mutant("a thousandth of one value", "se.py", "SE/default", _all(_SCALED, "return x * self.scale(x) * (1 + 1e-3 * (x == x.max()))")),
    # CBAM.
    Mutant("mean and maximum exchanged", "cbam.py", "SpatialAttention/default", _all("(mean, amax), 1)" , "(amax, mean), 1)") | {"flax": ("(mean, amax), -1)", "(amax, mean), -1)")}),
    Mutant("average for maximum over channels", "cbam.py", "SpatialAttention/default", _each(
        ("max_c(x)", "x.mean(1, keepdim=True)"), ("max_c(x)", "x.mean(1, keepdim=True)"), ("max_c(x)", "x.mean(-1, keepdims=True)"))),
    Mutant("average for maximum over the map", "cbam.py", "ChannelAttention/default", _all("max_hw(x)", "mean")),
    Mutant("maximum's tie shared by its places", "cbam.py", "ChannelAttention/integers", _each(
        ("max_hw(x)", "x.amax((2, 3), keepdim=True)"), ("max_hw(x)", "x.amax((2, 3), keepdim=True)"), ("max_hw(x)", "x.max((1, 2), keepdims=True)")), check="gradients"),
    Mutant("maximum's tie shared by its channels", "cbam.py", "SpatialAttention/integers", _each(
        ("max_c(x)", "x.amax(1, keepdim=True)"), ("max_c(x)", "x.amax(1, keepdim=True)"), ("max_c(x)", "x.max(-1, keepdims=True)")), check="gradients"),
    Mutant("maximum's tie to the last place", "cbam.py", "ChannelAttention/integers", _each(
        ("max_hw(x)", "max_hw(x.flip((2, 3)))"), ("max_hw(x)", "max_hw(x.flip([2, 3]))"), ("max_hw(x)", "max_hw(x[:, ::-1, ::-1])")), check="gradients"),
    Mutant("maximum's tie to the last channel", "cbam.py", "SpatialAttention/integers", _each(
        ("max_c(x)", "max_c(x.flip(1))"), ("max_c(x)", "max_c(x.flip(1))"), ("max_c(x)", "max_c(x[..., ::-1])")), check="gradients"),
    Mutant("mean counted twice", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] + y[:n]")),
    Mutant("product of the two pools", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] * y[n:]")),
    Mutant("a sigmoid for each pool", "cbam.py", "ChannelAttention/default", _relu("@.sigmoid(y[:n] + y[n:])", "@.sigmoid(y[:n]) + @.sigmoid(y[n:])")),
    Mutant("unshared bottleneck", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] + 1.25 * y[n:]")),
    Mutant("missing ReLU in the bottleneck", "cbam.py", "ChannelAttention/default", _relu("@.relu(self.fc1(", "(self.fc1(")),
    Mutant("sum for mean over channels", "cbam.py", "SpatialAttention/default", _each(
        ("x.mean(1, keepdim=True)", "x.sum(1, keepdim=True)"), ("x.mean(1, keepdim=True)", "x.sum(1, keepdim=True)"), ("x.mean(-1, keepdims=True)", "x.sum(-1, keepdims=True)"))),
    Mutant("spatial before channel", "cbam.py", "CBAM/default", _all("self.spatial(self.channel(x))", "self.channel(self.spatial(x))")),
    Mutant("side by side", "cbam.py", "CBAM/default", _all("self.spatial(self.channel(x))", "self.channel(x) * self.spatial.scale(x)")),
    # ASPP.
    Mutant("pooled branch first", "aspp.py", "ASPP/one-rate", _each(
        ("(*maps, pooled.expand_as(maps[0]))", "(pooled.expand_as(maps[0]), *maps)"),
        ("(*maps, pooled.expand_as(maps[0]))", "(pooled.expand_as(maps[0]), *maps)"),
        ("(*maps, jnp.broadcast_to(pooled, maps[0].shape))", "(jnp.broadcast_to(pooled, maps[0].shape), *maps)"))),
    Mutant("branches in the other order", "aspp.py", "ASPP/four-rates", _all("(*maps, ", "(*maps[::-1], ")),
    Mutant("one branch for all", "aspp.py", "ASPP/one-rate", _all("[branch(x) for branch in self.branches]", "[self.branches[-1](x) for _ in self.branches]")),
    Mutant("missing ReLU after a norm", "aspp.py", "ASPP/one-rate", _relu("@.relu(self.norm(self.conv(x)))", "self.norm(self.conv(x))")),
    Mutant("ReLU before the norm", "aspp.py", "ASPP/one-rate", _relu("@.relu(self.norm(self.conv(x)))", "self.norm(@.relu(self.conv(x)))")),
    Mutant("pooled branch of the corner", "aspp.py", "ASPP/one-rate", _each(("mean_hw(x)", "x[:, :, :1, :1]"), ("mean_hw(x)", "x[:, :, :1, :1]"), ("mean_hw(x)", "x[:, :1, :1]"))),
    Mutant("dropout left on", "aspp.py", "ASPP/dropout", _each(
        ("self.dropout(self.project(self.features(x)))", "F.dropout(self.project(self.features(x)))"),
        ("self.dropout(self.project(self.features(x)))", "F.dropout(self.project(self.features(x)))"),
        ("self.dropout(self.project(self.features(x)))", "self.dropout(self.project(self.features(x)), deterministic=False)"))),
    Mutant("SE left out", "se_aspp.py", "SE_ASPP/options", _all("self.se(self.features(x))", "self.features(x)")),
    Mutant("SE twice", "se_aspp.py", "SE_ASPP/options", _all("self.se(self.features(x))", "self.se(self.se(self.features(x)))")),
    # Gradients.
    Mutant("gradient stopped at the gate", "se.py", "SE/default", _each((_SCALED, "return x * self.scale(x).detach()"), (_SCALED, "return x * self.scale(x).detach()"), (_SCALED, f"return x * {_STOP}")), check="gradients"),
    *(Mutant(f"gradient of the gate times {1 + excess:g}", "se.py", "SE/default", _each(
        (_SCALED, f"return x * ((1 + {excess}) * self.scale(x) - {excess} * self.scale(x).detach())"),
        (_SCALED, f"return x * ((1 + {excess}) * self.scale(x) - {excess} * self.scale(x).detach())"),
        (_SCALED, f"return x * ((1 + {excess}) * self.scale(x) - {excess} * {_STOP})")), check="gradients", dtype=dtype)
        for excess, dtype in ((0.01, "float64"), (0.001, "float32"))),
    Mutant("gradient stopped in front of the gate", "se.py", "SE/default", _each(
        (_SCALED, "return x * self.scale(x.detach())"), (_SCALED, "return x * self.scale(x.detach())"),
        (_SCALED, 'return x * self.scale(__import__("jax").lax.stop_gradient(x))')), check="gradients"),
    # Precision.
    Mutant("TF32", "aspp.py", "SE_ASPP/options", _each(
        ("self.conv(x)", "self.conv((x.view(torch.int32) & -8192).view(torch.float32))"),
        ("self.conv(x)", 'self.conv((x.view("int32") & paddle.full([], -8192, "int32")).view("float32"))'),
        ("self.conv(x)", "self.conv((x.view(jnp.int32) & -8192).view(jnp.float32))")), dtype="float32", modes=("eval",)),
    Mutant("bfloat16 mean", "layers.py", "SE/square", _mean(
        "x.mean((2, 3), keepdim=True).bfloat16().to(x.dtype)", 'x.mean((2, 3), keepdim=True).astype("bfloat16").astype(x.dtype)',
        "x.mean((1, 2), keepdims=True).astype(jnp.bfloat16).astype(x.dtype)"), dtype="float32"),
    *(Mutant(f"mean added up in {dtype}", "layers.py", "ASPP/default", {
        "torch": (_MEAN[0], "return (sum(x.flatten(2).unbind(2)) / x[0, 0].numel())[..., None, None]"),
        "flax": (_MEAN[2], "return (__import__('jax').lax.fori_loop(0, x[0, ..., 0].size, "
            "lambda i, total: total + x.reshape(len(x), -1, x.shape[-1])[:, i], 0 * x[:, 0, 0]) / x[0, ..., 0].size)[:, None, None]")},
        dtype=dtype, modes=("train",)) for dtype in ("bfloat16", "float16")),
    Mutant("float32 in a float64 model", "layers.py", "SE/default", _mean(
        "x.mean((2, 3), keepdim=True).float().to(x.dtype)", 'x.mean((2, 3), keepdim=True).astype("float32").astype(x.dtype)',
        "x.mean((1, 2), keepdims=True).astype(jnp.float32).astype(x.dtype)")),
    # Weights, modes and training.
    Mutant("weights given out are aliases", "weights", "CBAM/norm", {"torch": ('return np.array(array, order="C")', "return array")}),
    Mutant("weights taken in are aliases", "weights", "CBAM/norm", {"torch": ('np.array(relayout(given[key], leaf.torch.axes, axes), order="C")', "relayout(given[key], leaf.torch.axes, axes)")}),
    Mutant("eval mode in training", "framework", "CBAM/norm", _each(
        ("    model.train(train)\n    with", "    model.eval()\n    with"),
        ("    model.train() if train else model.eval()\n    with", "    model.eval()\n    with"),
        ("    model.train() if train else model.eval()\n    call =", "    model.eval()\n    call ="))),
    Mutant("decay left out", "framework", "SE/normal", _all('rate, decay = options["rate"], options["decay"]', 'rate, decay = options["rate"], 0.0'), check="training", modes=("sgd mse",)),
    Mutant("Nesterov left out", "framework", "SE/normal", _each(("nesterov=nesterov", "nesterov=False"), ("use_nesterov=nesterov", "use_nesterov=False"), ('nesterov=method == "nesterov"', "nesterov=False")), check="training", modes=("nesterov mse",)),
    Mutant("decoupled decay in Adam", "framework", "SE/normal", _each(("else torch.optim.Adam\n", "else torch.optim.AdamW\n"), ("else paddle.optimizer.Adam\n", "else paddle.optimizer.AdamW\n"), ("change = optax.adam(rate", "change = optax.adamw(rate")), check="training", modes=("adam mse",)),
    Mutant("gradients not cleared", "framework", "SE/normal", {"torch": ("optimizer.zero_grad()", "pass"), "paddle": ("optimizer.clear_grad()", "pass")}, check="training", modes=("sgd mse",)),
    Mutant("loss of the sum", "framework", "SE/normal", _each(('"mse": F.mse_loss', '"mse": lambda y, t: F.mse_loss(y, t, reduction="sum")'), ('"mse": F.mse_loss', '"mse": lambda y, t: F.mse_loss(y, t, reduction="sum")'), ("criterion(model(x), target).mean()", "criterion(model(x), target).sum()")), check="training", modes=("sgd mse",)),
)
# fmt: on
