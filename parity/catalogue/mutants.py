"""The mutants: each is one line of an implementation as somebody might have written it, and must be caught.

A mutant is data: the file, the text and what stands there instead in each framework, and one case and check that can see
it. Where a framework is left out the mutant cannot be made in it: a Flax array cannot be aliased, for one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Edit = tuple[str, str]


@dataclass(frozen=True)
class Mutant:
    """One mutant; `file` is of the implementation, or names the driver's code (see `mutation.mutate`)."""

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


# Where each framework has its activations: in a file that imports them, and in any.
_HOMES = {"torch": "F", "paddle": "F", "flax": "nnx"}
_FAR = {
    "torch": "__import__('torch').nn.functional",
    "paddle": "__import__('paddle').nn.functional",
    "flax": "__import__('flax').nnx",
}


def _home(old: str, new: str) -> dict[str, Edit]:
    """The same words but for the home of the activations; `@` stands for it."""
    return {name: (old.replace("@", _HOMES[name]), new.replace("@", _FAR[name])) for name in _HOMES}


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


def _own(old: str, new: str, **extra: Edit) -> dict[str, Edit]:
    """Words in which `@` is the activations' home and `#` Flax's argument `rngs=rngs`, and `stop(...)` lets no gradient through."""
    edits = {}
    for name, home in _HOMES.items():
        rngs = ", rngs=rngs" if name == "flax" else ""
        stop = r"__import__('jax').lax.stop_gradient(\1)" if name == "flax" else r"(\1).detach()"
        words = (text.replace("@", home).replace("#", rngs) for text in (old, new))
        before, after = (re.sub(r"stop\((.*?)\)!", stop, text) for text in words)
        edits[name] = before, after
    return edits | extra


_WINDOWS = (
    "[jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)[:, i : i + x.shape[1] : 2, j : j + x.shape[2] : 2]"
    " for i in range(3) for j in range(3)]"
)


def _pool(torch: str, paddle: str, flax: str) -> dict[str, Edit]:
    """Other words for the max pool."""
    ours = "return F.max_pool2d(x, 3, 2, padding=1)"
    return _each(
        (ours, f"return {torch}"),
        (ours, f"return {paddle}"),
        ("return nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))", f"return {flax}"),
    )


def _join(words: str) -> dict[str, str]:
    """Words in which `&` joins two maps."""
    joins = {"torch": "torch.cat", "paddle": "paddle.concat", "flax": "jnp.concatenate"}
    return {name: words.replace("&", join) for name, join in joins.items()}


def _bent(torch: str, paddle: str, flax: str) -> Callable[[str], dict[str, Edit]]:
    """Another function for the ReLU of some words."""
    functions = {"torch": torch, "paddle": paddle, "flax": flax}
    return lambda words: {name: (f"relu({own})", f"({functions[name]})({own})") for name, own in _join(words).items()}


_WHERE = {
    "torch": "__import__('torch').where",
    "paddle": "__import__('paddle').where",
    "flax": "__import__('jax').numpy.where",
}


def _above(condition: str) -> Callable[[str], dict[str, Edit]]:
    """A ReLU that is open where the condition says."""
    return _bent(*(f"lambda y: {where}({condition}, y, 0 * y)" for where in _WHERE.values()))


_relu6 = _bent(*(f"{home}.relu6" for home in _FAR.values()))
# Its derivative at 0 is 1.
_open = _above("y >= 0")
_late = _above("y > 1e-9")
_capped = _bent("lambda y: y.clamp(0, 1000)", "lambda y: y.clip(0, 1000)", "lambda y: y.clip(0, 1000)")


# The letters of a batch norm's formula: mean, variance, gamma, beta and epsilon.
_LETTERS = {
    "torch": {
        "m": "self.running_mean[:, None, None]",
        "v": "self.running_var[:, None, None]",
        "g": "self.weight[:, None, None]",
        "b": "self.bias[:, None, None]",
        "e": "self.eps",
    },
    "paddle": {
        "m": "self._mean.reshape([1, -1, 1, 1])",
        "v": "self._variance.reshape([1, -1, 1, 1])",
        "g": "self.weight.reshape([1, -1, 1, 1])",
        "b": "self.bias.reshape([1, -1, 1, 1])",
        "e": "EPSILON",
    },
    "flax": {
        "m": "self.mean[...]",
        "v": "self.var[...]",
        "g": "self.scale[...]",
        "b": "self.bias[...]",
        "e": "self.epsilon",
    },
}


def _norm(formula: str) -> dict[str, Edit]:
    """A batch norm in eval mode by a formula of LETTERS."""
    words = {name: "".join(own.get(word, word) for word in re.split(r"\b", formula)) for name, own in _LETTERS.items()}
    return {
        "torch": (
            "        return super().forward(x)",
            f"        return super().forward(x) if self.training else {words['torch']}",
        ),
        "paddle": ("        return super().forward(x)", f"        return {words['paddle']}"),
        "flax": ("            return super().__call__(x)", f"            return {words['flax']}"),
    }


def _batch(mean: str, var: str) -> dict[str, Edit]:
    """A batch norm in train mode with other statistics; `$` are the axes of n, h and w, `@` is unbiased, `stop` as above."""
    axes = {"torch": ("0, 2, 3", "2, 3"), "paddle": ("0, 2, 3", "2, 3"), "flax": ("0, 1, 2", "1, 2")}
    words = {}
    for name, own in _LETTERS.items():
        keep, more = ("keepdims=True", "ddof=") if name == "flax" else ("keepdim=True", "correction=")
        biased = ", unbiased=False" if name == "paddle" else f", {more}0"
        unbiased = ", unbiased=True" if name == "paddle" else f", {more}1"
        m, v = (
            re.sub(
                r"stop\((.*?)\)!",
                r"jax.lax.stop_gradient(\1)" if name == "flax" else r"(\1).detach()",
                word.replace("$$", f"({axes[name][1]}), {keep}")
                .replace("$", f"({axes[name][0]}), {keep}")
                .replace("@", unbiased)
                .replace("!!", biased),
            )
            for word in (mean, var)
        )
        words[name] = f"(x - {m}) / ({v} + {own['e']}) ** 0.5 * {own['g']} + {own['b']}"
    return {
        "torch": (
            "        return super().forward(x)",
            f"        return super().forward(x) * 0 + {words['torch']} if self.training else super().forward(x)",
        ),
        "paddle": ("        return y\n\n\n@cache", f"        return y * 0 + {words['paddle']}\n\n\n@cache"),
        "flax": ("        y = super().__call__(x)\n", f"        y = super().__call__(x) * 0 + {words['flax']}\n"),
    }


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
        ("F.conv2d(x, self.weight, None, self._stride, self._padding,", "F.conv2d(F.pad(x, [self.weight.shape[-1] // 2] * 4, 'circular'), self.weight, None, self._stride, 0,"),
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
        ("self.fc1(y)", "__import__('torch').nn.functional.conv2d(y, self.fc1.weight.transpose(0, 1), self.fc1.bias)"),
        ("self.fc1(y)", "__import__('paddle').nn.functional.conv2d(y, self.fc1.weight.transpose([1, 0, 2, 3]), self.fc1.bias)"),
        ("self.fc1(y)", "y @ self.fc1.kernel[0, 0].T + self.fc1.bias[...]"))),
    # Squeeze-and-Excitation.
    Mutant("maximum for mean", "layers.py", "SE/default", _mean("x.amax((2, 3), keepdim=True)", "x.amax((2, 3), keepdim=True)", "x.max((1, 2), keepdims=True)")),
    Mutant("mean over one axis alone", "layers.py", "SE/default", _mean("x.mean(3, keepdim=True)[:, :, :1]", "x.mean(3, keepdim=True)[:, :, :1]", "x.mean(2, keepdims=True)[:, :1]")),
    Mutant("missing ReLU", "se.py", "SE/default", _home("relu(self.fc1(y))", "self.fc1(y)")),
    Mutant("leaky ReLU", "se.py", "SE/default", _home("relu(self.fc1(y))", "@.leaky_relu(self.fc1(y))")),
    Mutant("gate's slope", "layers.py", "SE/hard-sigmoid", _each(("(slope * x + 0.5)", "(0.2 * x + 0.5)"), ("(slope * x + 0.5)", "(0.2 * x + 0.5)"), ("y = slope * x + 0.5", "y = 0.2 * x + 0.5"))),
    Mutant("gate without its upper end", "layers.py", "SE/hard-sigmoid", _each((".clamp(0, 1)", ".clamp(0, 6)"), (".clip(0, 1)", ".clip(0, 6)"), ("jnp.where(y > 1, 1, y)", "y"))),
    Mutant("hard gate for sigmoid", "se.py", "SE/default", _all("apply_gate(y, self.gate, self.slope)", 'apply_gate(y, "hard_sigmoid", self.slope)')),
    Mutant("residual added", "se.py", "SE/default", _all(_SCALED, "return x + x * self.scale(x)")),
    Mutant("one NaN", "se.py", "SE/integers", _all(_SCALED, "return x * self.scale(x) * (x / x)")),
    Mutant("a thousandth of one value", "se.py", "SE/default", _all(_SCALED, "return x * self.scale(x) * (1 + 1e-3 * (x == x.max()))")),
    # CBAM.
    Mutant("mean and maximum exchanged", "cbam.py", "SpatialAttention/default", _all("(mean, amax), 1)" , "(amax, mean), 1)") | {"flax": ("(mean, amax), -1)", "(amax, mean), -1)")}),
    Mutant("average for maximum over channels", "cbam.py", "SpatialAttention/default", _each(
        ("= max_c(x)", "= x.mean(1, keepdim=True)"), ("= max_c(x)", "= x.mean(1, keepdim=True)"), ("= max_c(x)", "= x.mean(-1, keepdims=True)"))),
    Mutant("average for maximum over the map", "cbam.py", "ChannelAttention/default", _all("= max_hw(x)", "= mean")),
    Mutant("maximum's tie shared by its places", "cbam.py", "ChannelAttention/integers", _each(
        ("= max_hw(x)", "= x.amax((2, 3), keepdim=True)"), ("= max_hw(x)", "= x.amax((2, 3), keepdim=True)"), ("= max_hw(x)", "= x.max((1, 2), keepdims=True)")), check="gradients"),
    Mutant("maximum's tie shared by its channels", "cbam.py", "SpatialAttention/integers", _each(
        ("= max_c(x)", "= x.amax(1, keepdim=True)"), ("= max_c(x)", "= x.amax(1, keepdim=True)"), ("= max_c(x)", "= x.max(-1, keepdims=True)")), check="gradients"),
    Mutant("maximum's tie to the last place", "cbam.py", "ChannelAttention/integers", _each(
        ("= max_hw(x)", "= max_hw(x.flip((2, 3)))"), ("= max_hw(x)", "= max_hw(x.flip([2, 3]))"), ("= max_hw(x)", "= max_hw(x[:, ::-1, ::-1])")), check="gradients"),
    Mutant("maximum's tie to the last channel", "cbam.py", "SpatialAttention/integers", _each(
        ("= max_c(x)", "= max_c(x.flip(1))"), ("= max_c(x)", "= max_c(x.flip(1))"), ("= max_c(x)", "= max_c(x[..., ::-1])")), check="gradients"),
    Mutant("mean counted twice", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] + y[:n]")),
    Mutant("product of the two pools", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] * y[n:]")),
    Mutant("a sigmoid for each pool", "cbam.py", "ChannelAttention/default", _home("@.sigmoid(y[:n] + y[n:])", "@.sigmoid(y[:n]) + @.sigmoid(y[n:])")),
    Mutant("unshared bottleneck", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "y[:n] + 1.25 * y[n:]")),
    Mutant("missing ReLU in the bottleneck", "cbam.py", "ChannelAttention/default", _home("relu(self.fc1(", "(self.fc1(")),
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
    Mutant("missing ReLU after a norm", "aspp.py", "ASPP/one-rate", _home("relu(self.norm(self.conv(x)))", "self.norm(self.conv(x))")),
    Mutant("ReLU before the norm", "aspp.py", "ASPP/one-rate", _home("relu(self.norm(self.conv(x)))", "self.norm(relu(self.conv(x)))")),
    Mutant("pooled branch of the corner", "aspp.py", "ASPP/one-rate", _each(("mean_hw(x)", "x[:, :, :1, :1]"), ("mean_hw(x)", "x[:, :, :1, :1]"), ("mean_hw(x)", "x[:, :1, :1]"))),
    Mutant("dropout left on", "aspp.py", "ASPP/dropout", _each(
        ("self.dropout(self.project(self.features(x)))", "__import__('torch').nn.functional.dropout(self.project(self.features(x)))"),
        ("self.dropout(self.project(self.features(x)))", "__import__('paddle').nn.functional.dropout(self.project(self.features(x)))"),
        ("self.dropout(self.project(self.features(x)))", "self.dropout(self.project(self.features(x)), deterministic=False)"))),
    Mutant("SE left out", "se_aspp.py", "SE_ASPP/options", _all("self.se(self.features(x))", "self.features(x)")),
    Mutant("SE twice", "se_aspp.py", "SE_ASPP/options", _all("self.se(self.features(x))", "self.se(self.se(self.features(x)))")),
    # Batch norm, with weights as training leaves them.
    *(Mutant(name, "layers.py", "ASPP/trained", _norm(formula), modes=("eval",)) for name, formula in {
        "absolute gamma": "(x - m) / (v + e) ** 0.5 * abs(g) + b",
        "gamma of at least 0": "(x - m) / (v + e) ** 0.5 * g.clip(0) + b",
        "one plus gamma": "(x - m) / (v + e) ** 0.5 * (1 + g) + b",
        "gamma left out": "(x - m) / (v + e) ** 0.5 + b",
        "gammas of 0 cut off": "(x - m) / (v + e) ** 0.5 * (abs(g).clip(1e-3) * g / (abs(g) + 1e-30)) + b + (1e-6 - abs(g)).clip(0) * x",
        "beta left out": "(x - m) / (v + e) ** 0.5 * g",
        "beta in front of gamma": "((x - m) / (v + e) ** 0.5 + b) * g",
        "mean left out": "x / (v + e) ** 0.5 * g + b",
        "mean added": "(x + m) / (v + e) ** 0.5 * g + b",
        "epsilon outside the root": "(x - m) / (v ** 0.5 + e) * g + b",
        "epsilon as the least variance": "(x - m) / v.clip(1e-5) ** 0.5 * g + b",
        "epsilon left out": "(x - m) / v ** 0.5 * g + b",
        "variance of at least 1e-6": "(x - m) / (v.clip(1e-6) + e) ** 0.5 * g + b",
        "variance of at most 100": "(x - m) / (v.clip(0, 100) + e) ** 0.5 * g + b",
        "variance for deviation": "(x - m) / (v + e) * g + b",
        "dead channels left out": "(x - m) / (v + e) ** 0.5 * g + b * v / (v + 1e-12)",
    }.items()),
    Mutant("epsilon as float64 holds it", "layers.py", "SpatialAttention/trained", dict.fromkeys(("torch", "flax"), ("EPSILON = 9.999999747378752e-06", "EPSILON = 1e-5"))),
    *(Mutant(name, "layers.py", "ASPP/one-rate", _batch(mean, var), modes=("train",), check=check) for name, mean, var, check in (
        ("unbiased variance in the norm", "x.mean($)", "x.var($@)", "forward"),
        ("statistics of each image", "x.mean($$)", "x.var($$!!)", "forward"),
        ("statistics of the first images", "x[:2].mean($)", "x[:2].var($!!) * (1 + (len(x) < 3))", "forward"),
        ("variance about 0", "x.mean($)", "(x * x).mean($)", "forward"),
        ("mean absolute deviation", "x.mean($)", "(abs(x - x.mean($)).mean($)) ** 2", "forward"),
        ("gradient stopped at the batch's mean", "stop(x.mean($))!", "((x - x.mean($)) ** 2).mean($)", "gradients"),
        ("gradient stopped at the batch's variance", "x.mean($)", "stop(x.var($!!))!", "gradients"),
    )),
    Mutant("running variance by the deviation", "layers.py", "CBAM/norm", _each(
        ("        return super().forward(x)", "        y, v = super().forward(x), x.detach().var((0, 2, 3))\n        self.running_var.add_(self.momentum * (v ** 0.5 - v) if self.training else 0)\n        return y"),
        ("momentum * (var - self._variance)", "momentum * (var ** 0.5 - self._variance)"),
        ("self.var[...] = self.var[...] + (self.var[...] - kept) / (count - 1)", "self.var[...] = kept + (1 - self.momentum) * ((self.var[...] - kept) / (1 - self.momentum) * count / (count - 1)) ** 0.5"))),
    Mutant("running values replaced", "layers.py", "CBAM/norm", _each(
        ('momentum=check_fraction("momentum", momentum)', "momentum=1.0"),
        ('self.momentum = check_fraction("momentum", momentum)', "self.momentum = 1.0"),
        ("momentum=1 - momentum", "momentum=0.0"))),
    Mutant("running variance unbiased twice", "layers.py", "CBAM/norm", _each(
        ("        return super().forward(x)", "        y, n = super().forward(x), x[:, 0].numel()\n        self.running_var.add_(self.momentum * x.detach().var((0, 2, 3)) / (n - 1) if self.training else 0)\n        return y"),
        ("count / (count - 1)", "(count / (count - 1)) ** 2"),
        ("(self.var[...] - kept) / (count - 1)", "(self.var[...] - kept) * ((count / (count - 1)) ** 2 - 1)"))),
    *(Mutant(f"{name} always in eval mode", file, case, _own(words, f"({layer}.eval(), {words})[1]"), modes=("train",)) for name, file, case, layer, words in (
        ("attention's norm", "cbam.py", "CBAM/norm", "self.norm", "self.norm(y)"),
        ("pooled branch", "aspp.py", "ASPP/one-rate", "self.pool", "self.pool(mean_hw(x))"),
        ("projection", "aspp.py", "ASPP/one-rate", "self.project", "self.project(self.features(x))"),
        ("shortcut", "se_resnet.py", "BasicBlock/projection", "self.downsample", "self.downsample(shortcut)"),
        ("last norm", "se_resnet.py", "BasicBlock/projection", "self.bn2", 'self.bn2(self.attend(self.conv2(y), "conv"))'))),
    Mutant("shortcut always in train mode", "se_resnet.py", "BasicBlock/projection", _own("self.downsample(shortcut)", "(self.downsample.train(), self.downsample(shortcut))[1]"), modes=("eval",)),
    Mutant("norm after the sigmoid", "cbam.py", "CBAM/norm", _own("y = self.norm(y)\n        return @.sigmoid(y)", "return self.norm(@.sigmoid(y))\n        return @.sigmoid(y)")),
    # Kinks: each ReLU open at 0, just above it, and far from it.
    *(Mutant(f"{kind} in {name}", file, f"{module}/{label}", edits(words), check=check) for name, file, module, words, faint in (
        ("SE", "se.py", "SE", "self.fc1(y)", "tiny"),
        ("CBAM", "cbam.py", "ChannelAttention", "self.fc1(&((mean, amax), 0))", "tiny"),
        ("ASPP", "aspp.py", "ASPP", "self.norm(self.conv(x))", "trained"),
        ("a block", "se_resnet.py", "Bottleneck", "self.bn2(self.conv2(y))", "trained"),
    ) for kind, edits, label, check in (
        ("ReLU6", _relu6, "trained", "forward"),
        ("a ReLU open at 0", _open, "trained", "gradients"),
        ("a ReLU open from 1e-9", _late, faint, "gradients"),
        ("a ReLU that ends at 1000", _capped, "far", "forward"))),
    *(Mutant(f"maximum over {over} of at least -1000", "cbam.py", case, _all(f"= {words}(x)", f"= {words}(x).clip(-1000)")) for over, words, case in (
        ("channels", "max_c", "SpatialAttention/far"), ("the map", "max_hw", "ChannelAttention/far"))),
    Mutant("half a derivative at 0", "se.py", "SE/trained", {
        "torch": ("relu(self.fc1(y))", "__import__('torch').maximum(self.fc1(y), self.fc1(y).detach() * 0)"), "flax": ("relu(self.fc1(y))", "__import__('jax').numpy.maximum(self.fc1(y), 0)")}, check="gradients"),
    Mutant("GELU for ReLU", "se.py", "SE/default", _home("relu(self.fc1(y))", "@.gelu(self.fc1(y))")),
    Mutant("gate without its lower end", "layers.py", "SE/hard-sigmoid", _each((".clamp(0, 1)", ".clamp(-6, 1)"), (".clip(0, 1)", ".clip(-6, 1)"), ("y < 0, 0", "y < -6, -6"))),
    Mutant("gate's offset", "layers.py", "SE/hard-sigmoid", _each(("slope * x + 0.5)", "slope * x + 0.4)"), ("slope * x + 0.5)", "slope * x + 0.4)"), ("slope * x + 0.5\n", "slope * x + 0.4\n"))),
    Mutant("gate's lower end open", "layers.py", "SE/trained-hard", _each(
        ("(slope * x + 0.5).clamp(0, 1)", "F.relu(slope * x + 0.5).clamp(max=1)"), ("(slope * x + 0.5).clip(0, 1)", "F.relu(slope * x + 0.5).clip(max=1)"), ("y < 0, 0", "y <= 0, 0")), check="gradients"),
    Mutant("gate's upper end open", "layers.py", "SE/trained-hard", _each(
        ("(slope * x + 0.5).clamp(0, 1)", "(1 - F.relu(0.5 - slope * x)).clamp(min=0)"), ("(slope * x + 0.5).clip(0, 1)", "(1 - F.relu(0.5 - slope * x)).clip(min=0)"), ("y > 1, 1", "y >= 1, 1")), check="gradients"),
    Mutant("half a derivative at the gate's ends", "layers.py", "SE/trained-hard", {"flax": ("return jnp.where(y < 0, 0, jnp.where(y > 1, 1, y))", "return jnp.clip(y, 0, 1)")}, check="gradients"),
    Mutant("gate by relu6(6 slope x + 3) / 6", "layers.py", "SE/trained-hard", _each(
        ("(slope * x + 0.5).clamp(0, 1)", "F.relu6(6 * slope * x + 3) / 6"), ("(slope * x + 0.5).clip(0, 1)", "F.relu6(6 * slope * x + 3) / 6"), ("return jnp.where(y < 0, 0, jnp.where(y > 1, 1, y))", "return nnx.relu6(6 * y) / 6")), check="gradients"),
    # Sigmoids where they saturate.
    Mutant("sigmoid that overflows", "layers.py", "SE/trained", _each(
        ("return F.sigmoid(x)", "return x.exp() / (1 + x.exp())"), ("return F.sigmoid(x)", "return x.exp() / (1 + x.exp())"), ("return nnx.sigmoid(x)", "return jnp.exp(x) / (1 + jnp.exp(x))"))),
    Mutant("sigmoid whose derivative overflows", "layers.py", "SE/trained", _each(
        ("return F.sigmoid(x)", "return 1 / (1 + (-x).exp())"), ("return F.sigmoid(x)", "return 1 / (1 + (-x).exp())"), ("return nnx.sigmoid(x)", "return 1 / (1 + jnp.exp(-x))")), check="gradients"),
    Mutant("sigmoid cut near its ends", "layers.py", "SE/trained", _each(
        ("return F.sigmoid(x)", "return F.sigmoid(x).clamp(1e-6, 1 - 1e-6)"), ("return F.sigmoid(x)", "return F.sigmoid(x).clip(1e-6, 1 - 1e-6)"), ("return nnx.sigmoid(x)", "return nnx.sigmoid(x).clip(1e-6, 1 - 1e-6)"))),
    Mutant("sigmoid of what is cut at 10", "layers.py", "SE/trained", _each(
        ("return F.sigmoid(x)", "return F.sigmoid(x.clamp(-10, 10))"), ("return F.sigmoid(x)", "return F.sigmoid(x.clip(-10, 10))"), ("return nnx.sigmoid(x)", "return nnx.sigmoid(x.clip(-10, 10))"))),
    Mutant("CBAM's sigmoid overflows", "cbam.py", "ChannelAttention/trained", _each(
        ("F.sigmoid(y[:n] + y[n:])", "(y[:n] + y[n:]).exp() / (1 + (y[:n] + y[n:]).exp())"),
        ("F.sigmoid(y[:n] + y[n:])", "(y[:n] + y[n:]).exp() / (1 + (y[:n] + y[n:]).exp())"),
        ("nnx.sigmoid(y[:n] + y[n:])", "jnp.exp(y[:n] + y[n:]) / (1 + jnp.exp(y[:n] + y[n:]))"))),
    Mutant("the spatial sigmoid overflows", "cbam.py", "SpatialAttention/large", _each(
        ("return F.sigmoid(y)\n", "return y.exp() / (1 + y.exp())\n"), ("return F.sigmoid(y)\n", "return y.exp() / (1 + y.exp())\n"), ("return nnx.sigmoid(y)\n", "return jnp.exp(y) / (1 + jnp.exp(y))\n"))),
    # Squeeze-and-Excitation, once more.
    Mutant("mean of absolute values", "layers.py", "SE/normal", _mean("x.abs().mean((2, 3), keepdim=True)", "x.abs().mean((2, 3), keepdim=True)", "abs(x).mean((1, 2), keepdims=True)")),
    Mutant("root mean square for mean", "layers.py", "SE/normal", _mean("(x * x).mean((2, 3), keepdim=True) ** 0.5", "(x * x).mean((2, 3), keepdim=True) ** 0.5", "(x * x).mean((1, 2), keepdims=True) ** 0.5")),
    Mutant("sum for mean", "layers.py", "SE/default", _mean("x.sum((2, 3), keepdim=True)", "x.sum((2, 3), keepdim=True)", "x.sum((1, 2), keepdims=True)")),
    Mutant("mean over the batch too", "layers.py", "SE/default", _mean("x.mean((0, 2, 3), keepdim=True)", "x.mean((0, 2, 3), keepdim=True)", "x.mean((0, 1, 2), keepdims=True)")),
    Mutant("mean without the last row", "layers.py", "SE/default", _mean("x[:, :, :-1].mean((2, 3), keepdim=True)", "x[:, :, :-1].mean((2, 3), keepdim=True)", "x[:, :-1].mean((1, 2), keepdims=True)")),
    Mutant("gradient of the mean of one place", "layers.py", "SE/default", _mean(
        "x.mean((2, 3), keepdim=True).detach() + x[:, :, :1, :1] - x[:, :, :1, :1].detach()", "x.mean((2, 3), keepdim=True).detach() + x[:, :, :1, :1] - x[:, :, :1, :1].detach()",
        "jax.lax.stop_gradient(x.mean((1, 2), keepdims=True) - x[:, :1, :1]) + x[:, :1, :1]"), check="gradients"),
    *(Mutant(name, "se.py", case, _all(_SCALED, f"return {words}")) for name, case, words in (
        ("gate twice", "SE/default", "x * self.scale(x) * self.scale(x)"),
        ("complement of the gate", "SE/default", "x * (1 - self.scale(x))"),
        ("gate added", "SE/default", "x + self.scale(x)"),
        ("gate alone", "SE/default", "0 * x + self.scale(x)"),
        ("the first image's gate for all", "SE/default", "x * self.scale(x)[:1]"),
        ("no gate for a single image", "SE/batch-1", "x * self.scale(x) if len(x) > 1 else x"),
        ("small values cut off", "SE/trained", "x * (self.scale(x) - 0.01).clip(0)"),
        ("negative values as they are", "SE/normal", "x.clip(0) * self.scale(x) + x.clip(-100, 0)"),
        ("zeros for 1", "SE/integers", "(x + (1 - abs(x)).clip(0)) * self.scale(x)"))),
    Mutant("gates in the other order", "se.py", "SE/default", _each((_SCALED, "return x * self.scale(x).flip(1)"), (_SCALED, "return x * self.scale(x).flip([1])"), (_SCALED, "return x * self.scale(x)[..., ::-1]"))),
    Mutant("fc1 for every channel its neighbour's", "se.py", "SE/square", _each(("self.fc1(y)", "self.fc1(y.roll(1, 1))"), ("self.fc1(y)", "self.fc1(y.roll(1, 1))"), ("self.fc1(y)", "self.fc1(__import__('jax').numpy.roll(y, 1, -1))"))),
    # CBAM, once more.
    *(Mutant(name, "cbam.py", "ChannelAttention/default", _all("(mean, amax), 0)", f"({words}), 0)")) for name, words in (
        ("mean for both pools", "mean, mean"), ("maximum for both pools", "amax, amax"), ("pools added in front of the bottleneck", "mean + amax, 0 * amax"))),
    *(Mutant(name, "cbam.py", "SpatialAttention/default", _all("(mean, amax), 1)", f"({words}), 1)") | {"flax": ("(mean, amax), -1)", f"({words}), -1)")}) for name, words in (
        ("mean for both maps", "mean, mean"), ("maximum for both maps", "amax, amax"), ("maximum less the mean", "mean, amax - mean"))),
    Mutant("half of both pools", "cbam.py", "ChannelAttention/default", _all("y[:n] + y[n:]", "(y[:n] + y[n:]) / 2")),
    Mutant("a bias counted once", "cbam.py", "ChannelAttention/bias", _each(
        ("y[:n] + y[n:]", "y[:n] + y[n:] - self.fc2.bias[:, None, None]"), ("y[:n] + y[n:]", "y[:n] + y[n:] - self.fc2.bias[:, None, None]"), ("y[:n] + y[n:]", "y[:n] + y[n:] - self.fc2.bias[...]"))),
    Mutant("pools of the next image", "cbam.py", "ChannelAttention/default", _each(
        ("y[:n] + y[n:]", "y[:n] + y[n:].roll(1, 0)"), ("y[:n] + y[n:]", "y[:n] + y[n:].roll(1, 0)"), ("y[:n] + y[n:]", "y[:n] + jnp.roll(y[n:], 1, 0)"))),
    *(Mutant(name, "cbam.py", "CBAM/default", _all("self.spatial(self.channel(x))", words)) for name, words in (
        ("channel attention left out", "self.spatial(x)"), ("spatial attention left out", "self.channel(x)"), ("spatial attention twice", "self.spatial(self.spatial(self.channel(x)))"),
        ("residual around CBAM", "x + self.spatial(self.channel(x))"))),
    Mutant("gradient stopped between the attentions", "cbam.py", "CBAM/default", _own("self.spatial(self.channel(x))", "self.spatial(stop(self.channel(x))!)"), check="gradients"),
    Mutant("gradient stopped at the mean over the map", "cbam.py", "ChannelAttention/default", _own("(mean, amax), 0)", "(stop(mean)!, amax), 0)"), check="gradients"),
    Mutant("gradient stopped at the maximum over the map", "cbam.py", "ChannelAttention/default", _own("(mean, amax), 0)", "(mean, stop(amax)!), 0)"), check="gradients"),
    Mutant("minimum over the map", "cbam.py", "ChannelAttention/default", _all("= max_hw(x)", "= -max_hw(-x)")),
    Mutant("minimum over channels", "cbam.py", "SpatialAttention/default", _all("= max_c(x)", "= -max_c(-x)")),
    Mutant("maximum of absolute values over the map", "cbam.py", "ChannelAttention/normal", _all("= max_hw(x)", "= max_hw(abs(x))")),
    Mutant("maximum of absolute values over channels", "cbam.py", "SpatialAttention/normal", _all("= max_c(x)", "= max_c(abs(x))")),
    Mutant("maximum of at least 0 over the map", "cbam.py", "ChannelAttention/1x1", _all("= max_hw(x)", "= max_hw(x.clip(0))")),
    Mutant("maximum of at least 0 over channels", "cbam.py", "SpatialAttention/default", _all("= max_c(x)", "= max_c(x.clip(0))")),
    Mutant("maximum without the last row", "cbam.py", "ChannelAttention/normal", _each(("= max_hw(x)", "= max_hw(x[:, :, :-1])"), ("= max_hw(x)", "= max_hw(x[:, :, :-1])"), ("= max_hw(x)", "= max_hw(x[:, :-1])"))),
    Mutant("maximum's tie to the first column", "cbam.py", "ChannelAttention/integers", _each(
        ("= max_hw(x)", "= max_hw(x.transpose(2, 3))"), ("= max_hw(x)", "= max_hw(x.transpose([0, 1, 3, 2]))"), ("= max_hw(x)", "= max_hw(x.swapaxes(1, 2))")), check="gradients"),
    Mutant("ties shared behind a norm", "cbam.py", "BasicBlock/trained", _each(
        ("= max_hw(x)", "= x.amax((2, 3), keepdim=True)"), ("= max_hw(x)", "= x.amax((2, 3), keepdim=True)"), ("= max_hw(x)", "= x.max((1, 2), keepdims=True)")), check="gradients"),
    Mutant("ties shared behind gates", "cbam.py", "CBAM/trained", _each(
        ("= max_c(x)", "= x.amax(1, keepdim=True)"), ("= max_c(x)", "= x.amax(1, keepdim=True)"), ("= max_c(x)", "= x.max(-1, keepdims=True)")), check="gradients"),
    Mutant("a window's tie shared", "layers.py", "SEResNet/trained", _pool(
        "F.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))",
        "paddle.stack([F.pad(x, (1, 1, 1, 1), value=-paddle.inf)[:, :, i : i + x.shape[2] : 2, j : j + x.shape[3] : 2] for i in range(3) for j in range(3)]).amax(0)",
        f"jnp.stack({_WINDOWS}).max(0)"), check="gradients"),
    Mutant("a window's tie to the last place", "layers.py", "SEResNet/trained", _pool(
        "F.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).flatten(-2).flip(-1).max(-1).values",
        "paddle.topk(paddle.stack([F.pad(x, (1, 1, 1, 1), value=-paddle.inf)[:, :, i : i + x.shape[2] : 2, j : j + x.shape[3] : 2] for i in (2, 1, 0) for j in (2, 1, 0)]), 1, axis=0)[0][0]",
        f"(lambda s: jnp.take_along_axis(s, s.argmax(0, keepdims=True), 0)[0])(jnp.stack({_WINDOWS}[::-1]))"), check="gradients"),
    Mutant("average for maximum of windows", "layers.py", "SEResNet/plain", _pool("F.avg_pool2d(x, 3, 2, padding=1)", "F.avg_pool2d(x, 3, 2, padding=1)", "nnx.avg_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))")),
    Mutant("windows of 2x2", "layers.py", "SEResNet/plain", _pool("F.max_pool2d(x, 2, 2)", "F.max_pool2d(x, 2, 2)", "nnx.max_pool(x, (2, 2), (2, 2))")),
    Mutant("reflected padding", "layers.py", "SpatialAttention/default", _each(
        ("dilation=dilation, bias=bias)", 'dilation=dilation, bias=bias, padding_mode="reflect")'), ("F.conv2d(x, self.weight, None, self._stride, self._padding,", "F.conv2d(F.pad(x, [self.weight.shape[-1] // 2] * 4, 'reflect'), self.weight, None, self._stride, 0,"), ("padding=padding,", 'padding="REFLECT",'))),
    Mutant("no padding", "layers.py", "SpatialAttention/default", _all(_PADDING, "padding = 0")),
    Mutant("fixed padding", "layers.py", "SpatialAttention/3x3", _all(_PADDING, "padding = 3")),
    # ASPP, once more.
    Mutant("rates in the other order", "aspp.py", "ASPP/four-rates", _all("enumerate(check_rates(rates), 1)", "enumerate(check_rates(rates)[::-1], 1)")),
    Mutant("pooled branch left out", "aspp.py", "ASPP/one-rate", _all("self.pool(mean_hw(x))", "0 * self.pool(mean_hw(x))")),
    Mutant("pooled branch of the maximum", "aspp.py", "ASPP/one-rate", _each(("mean_hw(x)", "x.amax((2, 3), keepdim=True)"), ("mean_hw(x)", "x.amax((2, 3), keepdim=True)"), ("mean_hw(x)", "x.max((1, 2), keepdims=True)"))),
    Mutant("pooled branch before its convolution", "aspp.py", "ASPP/one-rate", _each(
        ("self.pool(mean_hw(x))", "mean_hw(self.pool(x))"), ("self.pool(mean_hw(x))", "mean_hw(self.pool(x))"), ("self.pool(mean_hw(x))", "mean_hw(self.pool(x))"))),
    Mutant("projection without ReLU", "aspp.py", "ASPP/one-rate", _all("self.project(self.features(x))", "self.project.norm(self.project.conv(self.features(x)))")),
    Mutant("projection without norm", "aspp.py", "ASPP/one-rate", _own("self.project(self.features(x))", "self.project.conv(self.features(x))")),
    Mutant("gradient stopped at the pooled branch", "aspp.py", "ASPP/one-rate", _own("pooled = self.pool(mean_hw(x))", "pooled = stop(self.pool(mean_hw(x)))!"), check="gradients"),
    Mutant("gradient stopped at the first branch", "aspp.py", "ASPP/one-rate", _own("[branch(x) for branch in self.branches]", "[stop(self.branches[0](x))!, *(branch(x) for branch in self.branches[1:])]"), check="gradients"),
    Mutant("SE in front of the ReLUs' sum", "se_aspp.py", "SE_ASPP/options", _all("self.se(self.features(x))", "self.features(x) + self.se(self.features(x))")),
    # Blocks and networks.
    *(Mutant(name, "se_resnet.py", case, _own("relu(y + shortcut)", words), check=check) for name, case, words, check in (
        ("shortcut left out", "BasicBlock/projection", "relu(y)", "forward"),
        ("branch left out", "BasicBlock/projection", "relu(shortcut)", "forward"),
        ("shortcut subtracted", "BasicBlock/projection", "relu(y - shortcut)", "forward"),
        ("ReLU before the sum", "BasicBlock/projection", "(relu(y) + shortcut)", "forward"),
        ("ReLU of both", "BasicBlock/projection", "(relu(y) + relu(shortcut))", "forward"),
        ("no ReLU after the sum", "BasicBlock/projection", "(y + shortcut)", "forward"),
        ("half the sum", "BasicBlock/projection", "relu(y + shortcut) / 2", "forward"),
        ("gradient stopped at the shortcut", "BasicBlock/projection", "relu(y + stop(shortcut)!)", "gradients"),
        ("gradient that ReLU lets through", "BasicBlock/projection", "(y + shortcut + stop(relu(y + shortcut) - y - shortcut)!)", "gradients"))),
    Mutant("shortcut without its norm", "se_resnet.py", "BasicBlock/projection", _all("self.downsample(shortcut)", "self.downsample[0](shortcut)")),
    Mutant("shortcut with a ReLU", "se_resnet.py", "BasicBlock/projection", _own("self.downsample(shortcut)", "relu(self.downsample(shortcut))")),
    Mutant("shortcut of the block's output", "se_resnet.py", "BasicBlock/identity", _all('self.attend(x, "identity")', 'self.attend(y, "identity")')),
    Mutant("attention left out of the branch", "se_resnet.py", "BasicBlock/projection", _all('pre")), "standard")', 'pre")), "post")')),
    Mutant("attention twice", "se_resnet.py", "BasicBlock/projection", _all('self.attend(self.branch(self.attend(x, "pre")), "standard")', 'self.attend(self.attend(self.branch(self.attend(x, "pre")), "standard"), "standard")')),
    Mutant("attention in front of the shortcut too", "se_resnet.py", "Bottleneck/dilated", _all('y = self.attend(self.branch(self.attend(x, "pre")), "standard")', 'x = self.attend(x, "pre"); y = self.attend(self.branch(x), "standard")')),
    Mutant("attention before the last ReLU", "se_resnet.py", "BasicBlock/dilated", _own('self.attend(relu(y + shortcut), "post")', 'relu(self.attend(y + shortcut, "post"))')),
    Mutant("attention behind the last norm", "se_resnet.py", "Bottleneck/conv", _all('self.bn3(self.attend(self.conv3(y), "conv"))', 'self.attend(self.bn3(self.conv3(y)), "conv")')),
    Mutant("no ReLU in a bottleneck", "se_resnet.py", "Bottleneck/projection", _own("relu(self.bn2(self.conv2(y)))", "self.bn2(self.conv2(y))")),
    Mutant("no norm in a bottleneck", "se_resnet.py", "Bottleneck/projection", _own("relu(self.bn2(self.conv2(y)))", "relu(self.conv2(y))")),
    Mutant("norm behind ReLU in a bottleneck", "se_resnet.py", "Bottleneck/projection", _own("relu(self.bn2(self.conv2(y)))", "self.bn2(relu(self.conv2(y)))")),
    Mutant("the stride in the second convolution", "se_resnet.py", "BasicBlock/projection", _own(
        'self.conv1 = conv2d(channels, width, 3, stride=stride, dilation=first_dilation, bias=False#)\n        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1"#)\n        self.conv2 = conv2d(width, width, 3, dilation',
        'self.conv1 = conv2d(channels, width, 3, dilation=first_dilation, bias=False#)\n        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1"#)\n        self.conv2 = conv2d(width, width, 3, stride=stride, dilation')),
    Mutant("the stride in the first 1x1", "se_resnet.py", "Bottleneck/projection", _own(
        'self.conv1 = conv2d(channels, width, 1, bias=False#)\n        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1"#)\n        self.conv2 = conv2d(width, width, 3, stride=stride, ',
        'self.conv1 = conv2d(channels, width, 1, stride=stride, bias=False#)\n        self.bn1 = BatchNorm(width, momentum=momentum, name=f"{name}.bn1"#)\n        self.conv2 = conv2d(width, width, 3, ')),
    Mutant("first dilation left out", "se_resnet.py", "BasicBlock/dilated", _all("channels, width, 3, stride=stride, dilation=first_dilation", "channels, width, 3, stride=stride, dilation=dilation")),
    Mutant("first dilation left out of a bottleneck", "se_resnet.py", "Bottleneck/dilated", _all("width, width, 3, stride=stride, dilation=first_dilation", "width, width, 3, stride=stride, dilation=dilation")),
    Mutant("bottleneck's least width left out", "se_resnet.py", "BasicBlock/projection", _all("max(check_size(\"min_hidden\", min_hidden), channels // reduction)", "channels // reduction")),
    Mutant("no ReLU in the stem", "se_resnet.py", "SEResNet/plain", _own("y = relu(self.bn1(self.conv1(x)))\n        return y if", "y = self.bn1(self.conv1(x))\n        return y if")),
    Mutant("no max pool in the stem", "se_resnet.py", "SEResNet/plain", _all("else max_pool(y)", "else y")),
    Mutant("every block with its stage's stride", "se_resnet.py", "SEResNet/plain", _all("stride=stride if j == 0 else 1,", "stride=stride if j < 2 else 1,")),
    Mutant("maximum for the last mean", "se_resnet.py", "SEResNet/plain", _each(
        ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1].amax((2, 3), keepdim=True)"), ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1].amax((2, 3), keepdim=True)"), ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1].max((1, 2), keepdims=True)"))),
    Mutant("a corner for the last mean", "se_resnet.py", "SEResNet/plain", _each(
        ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1][:, :, :1, :1]"), ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1][:, :, :1, :1]"), ("mean_hw(self.stages(x)[-1])", "self.stages(x)[-1][:, :1, :1]"))),
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
    Mutant("weights given out are aliases", "weights", "CBAM/norm", {"torch": ('np.array(array, order="C") for key, array in place.read()', "array for key, array in place.read()")}),
    Mutant("weights taken in are aliases", "weights", "CBAM/norm", {"torch": ('framework.assign(variable, np.array(array, order="C"))', "framework.assign(variable, array)")}),
    Mutant("eval mode in training", "framework", "CBAM/norm", _each(
        ("    model.train(train)\n    with", "    model.eval()\n    with"),
        ("    model.train() if train else model.eval()\n    with", "    model.eval()\n    with"),
        ("    model.train() if train else model.eval()\n    model =", "    model.eval()\n    model ="))),
    Mutant("decay left out", "framework", "SE/normal", _all('rate, decay = options["rate"], options["decay"]', 'rate, decay = options["rate"], 0.0'), check="training", modes=("sgd mse",)),
    Mutant("Nesterov left out", "framework", "SE/normal", _each(("nesterov=nesterov", "nesterov=False"), ("use_nesterov=nesterov", "use_nesterov=False"), ('nesterov=method == "nesterov"', "nesterov=False")), check="training", modes=("nesterov mse",)),
    Mutant("decoupled decay in Adam", "framework", "SE/normal", _each(("else torch.optim.Adam\n", "else torch.optim.AdamW\n"), ("else paddle.optimizer.Adam\n", "else paddle.optimizer.AdamW\n"), ("change = optax.adam(rate", "change = optax.adamw(rate")), check="training", modes=("adam mse",)),
    Mutant("gradients not cleared", "framework", "SE/normal", {"torch": ("optimizer.zero_grad()", "pass"), "paddle": ("optimizer.clear_grad()", "pass")}, check="training", modes=("sgd mse",)),
    Mutant("loss of the sum", "framework", "SE/normal", _each(('"mse": F.mse_loss', '"mse": lambda y, t: F.mse_loss(y, t, reduction="sum")'), ('"mse": F.mse_loss', '"mse": lambda y, t: F.mse_loss(y, t, reduction="sum")'), ("criterion(model(x), target).mean()", "criterion(model(x), target).sum()")), check="training", modes=("sgd mse",)),
)
# fmt: on
