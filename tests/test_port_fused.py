"""`parity port` and arrays that are one in one model and several in the other: paired by running, said, and written."""

import numpy as np
import paddle
import pytest
import torch
from flax import nnx

from parity import ParityError
from parity.port.compare import port
from parity.port.fused import families
from parity.port.inputs import from_shapes
from parity.port.layouts import layouts
from parity.testing import to_text
from parity.weights.dialects import apply, find, match
from tests.helpers import fused_models as models
from tests.helpers.fused_models import WIDTH

ATTENTION, SEQUENCE = "2,5,12", "3,6,5"


def flax_blocks(kind, **options):
    return lambda: models.FlaxBlocks(kind, **options)


def split_blocks():
    return models.Blocks(models.SplitAttention)


def compare(original, other, shape, **options):
    torch.manual_seed(0)
    return port(original, other, from_shapes([shape], 0), **{"modes": ["eval"], "dtypes": ["float64"], **options})


# The original, the port, the input, and a line of the rules that must be found.
FOUND = {
    "one is three": (models.Blocks, flax_blocks(models.FlaxSplit), ATTENTION, '"blocks.1.qkv.weight" = "blocks.1.{query,key,value}.weight : (3 o) i -> 3 o i"'),
    "one is three with heads": (models.Blocks, flax_blocks(models.FlaxHeads), ATTENTION, '"blocks.1.qkv.weight" = "blocks.1.{query,key,value}.kernel : (3 h d) i -> 3 i h d, h=3"'),
    "heads on the way back": (models.Blocks, flax_blocks(models.FlaxHeads), ATTENTION, '"blocks.1.proj.weight" = "blocks.1.out.kernel : o (h d) -> h d o, h=3"'),
    "three are one": (split_blocks, flax_blocks(models.FlaxFused), ATTENTION, '"blocks.1.{q,k,v}.bias" = "blocks.1.qkv.bias : 3 o -> (3 o)"'),
    "in another order": (split_blocks, flax_blocks(models.FlaxFused, order=(1, 2, 0)), ATTENTION, '"blocks.1.{v,q,k}.weight" = "blocks.1.qkv.weight : 3 o i -> (3 o) i"'),
    "one is one with heads": (split_blocks, flax_blocks(models.FlaxHeads), ATTENTION, '"blocks.2.k.weight" = "blocks.2.key.kernel : (h d) i -> i h d, h=3"'),
    "PyTorch's own": (models.TorchMulti, lambda: models.FlaxBlocks(models.FlaxHeads).blocks[0], ATTENTION, '"attn.in_proj_weight" = "{query,key,value}.kernel : (3 h d) i -> 3 i h d, h=3"'),
    "gates": (models.LSTM, models.FlaxGates, SEQUENCE, '"cell.weight_ih_l0" = "cell.{ii,if,ig,io}.weight : (4 o) i -> 4 o i"'),
    "gates of equal shapes": (lambda: models.LSTM(4), lambda: models.FlaxGates(4), "3,6,4", '"cell.weight_hh_l0" = "cell.{hi,hf,hg,ho}.weight : (4 o) i -> 4 o i"'),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_is_one_here_and_several_there_is_found_by_running_and_written(name, tmp_path):
    original, other, shape, line = FOUND[name]
    written = tmp_path / "port.toml"
    report = compare(original, other, shape, write_rules=written)
    assert report.passed, to_text(report)
    assert "decided by running, 1 of " in to_text(report)
    assert "running" in {how for _, how in report.weights.pairs.values()}
    assert line in written.read_text()
    again = compare(original, other, shape, rules=str(written), modes=["eval", "train"])
    assert again.passed, to_text(again)
    assert {how for _, how in again.weights.pairs.values()} == {"rules"}
    assert not again.weights.decided


def test_written_rules_are_undone_bit_for_bit(tmp_path):
    written = tmp_path / "port.toml"
    compare(models.Blocks, flax_blocks(models.FlaxHeads), ATTENTION, write_rules=written)
    weights = {key: tensor.numpy() for key, tensor in models.Blocks().state_dict().items()}
    dialect = find(str(written))
    there = match(weights, dialect, "FlaxBlocks", outward=False)
    assert there.complete
    moved = apply(there, weights)
    assert moved["blocks.0.key.kernel"].shape == (12, 3, 4)
    back = apply(match(moved, dialect, "FlaxBlocks", outward=True), moved)
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[key], array) for key, array in weights.items())


# The table of layers knows these: nothing is tried, and nothing is open.
KNOWN = {
    "attention": (models.TorchMulti, models.FlaxMulti, ATTENTION),
    "Linen's LSTM": (models.LSTM, models.linen_lstm, SEQUENCE),
    "NNX's LSTM": (models.LSTM, models.FlaxLSTM, SEQUENCE),
    "NNX's LSTM, a kernel for each gate": (models.LSTM, lambda: models.FlaxLSTM(nnx.LSTMCell), SEQUENCE),
}


@pytest.mark.parametrize("name", KNOWN)
def test_layers_that_the_table_knows_pair_without_trying(name):
    report = compare(*KNOWN[name], modes=["eval", "train", "training"])
    assert report.passed, to_text(report)
    assert not report.weights.decided
    halved = any("trained alone it goes half as far" in note for note in report.notes)
    assert halved == ("LSTM" in name)


class FlaxGRU(models.FlaxLSTM):
    def __init__(self):
        super().__init__(nnx.GRUCell)

    def __call__(self, x):
        return self.head(self.cell(x, initial_carry=np.zeros((len(x), 4), x.dtype))[:, -1])


def gru(*, last):
    model = models.LSTM(kind=torch.nn.GRU)
    with torch.no_grad():
        model.cell.bias_hh_l0[8:] *= last
    return model


def test_a_gru_has_no_place_for_the_last_third_of_a_bias():
    report = compare(lambda: gru(last=0), FlaxGRU, SEQUENCE, modes=["eval", "train"])
    assert report.passed, to_text(report)
    assert "cell.bias_hh_l0 is trained in the original alone: its gradient is not compared" in report.notes
    with pytest.raises(ParityError, match=r"the last third of cell.bias_hh_l0 is not zero: it stands inside r"):
        compare(lambda: gru(last=1), FlaxGRU, SEQUENCE)


class PaddleSplit(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.proj = (paddle.nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        shape = [*x.shape[:2], 3, 4]
        q, k, v = (layer(x).reshape(shape).transpose([0, 2, 1, 3]) for layer in (self.query, self.key, self.value))
        y = paddle.nn.functional.softmax(q @ k.transpose([0, 1, 3, 2]) * 0.5) @ v
        return self.proj(y.transpose([0, 2, 1, 3]).reshape(x.shape))


def test_a_paddle_port_is_given_its_parts_too():
    report = compare(models.Attention, PaddleSplit, ATTENTION)
    assert report.passed, to_text(report)
    assert "1 of 6 ways gives the original's outputs" in to_text(report)


class Scaled(models.FlaxSplit):
    def __call__(self, x):
        return super().__call__(x) * (1 + 2**-12)


class Reversed(models.FlaxSplit):
    def __call__(self, x):
        return super().__call__(x[:, ::-1]) * 3


def test_where_something_else_is_wrong_the_nearest_by_far_is_taken_and_said():
    report = compare(models.Blocks, flax_blocks(Scaled), ATTENTION)
    assert not report.passed
    assert "none of 6 ways gives the original's outputs; taken is the nearest by far, off by 0.000" in to_text(report)
    assert report.difference.layer == "blocks.0"
    assert [cause.what for cause in report.difference.causes] == ["the result"]


def test_where_no_way_is_nearer_it_is_said(tmp_path):
    report = compare(models.Blocks, flax_blocks(Reversed), ATTENTION, write_rules=tmp_path / "port.toml")
    assert not report.passed
    assert "running does not decide between 6 ways: the likeliest is taken" in to_text(report)
    assert '{query,key,value}.weight : (3 o) i -> 3 o i"  # by likeness' in (tmp_path / "port.toml").read_text()


class Even(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.both = torch.nn.Linear(5, 8)

    def forward(self, x):
        one, other = self.both(x).chunk(2, -1)
        return one.sigmoid() + other.sigmoid()


class EvenFlax(nnx.Module):
    def __init__(self):
        self.left, self.right = (nnx.Linear(5, 4, rngs=nnx.Rngs(seed)) for seed in (0, 1))

    def __call__(self, x):
        return nnx.sigmoid(self.left(x)) + nnx.sigmoid(self.right(x))


def test_two_ways_that_give_the_same_are_no_decision():
    report = compare(Even, EvenFlax, "3,5")
    assert report.passed
    assert "ambiguous, 2 of 2 ways give the original's outputs; the likeliest of them is taken" in to_text(report)


def test_a_port_that_brings_the_values_needs_no_running():
    torch.manual_seed(0)
    model, other = models.drawn(models.Blocks()), models.FlaxBlocks(models.FlaxSplit)
    for mine, theirs in zip(other.blocks, model.blocks, strict=True):
        weights = [part.T for part in theirs.qkv.weight.detach().numpy().reshape(3, WIDTH, WIDTH)]
        biases = theirs.qkv.bias.detach().numpy().reshape(3, WIDTH)
        for layer, weight, bias in zip((mine.query, mine.key, mine.value), weights, biases, strict=True):
            layer.kernel.set_value(np.array(weight))
            layer.bias.set_value(np.array(bias))
        mine.proj.kernel.set_value(theirs.proj.weight.detach().numpy().T.copy())
        mine.proj.bias.set_value(theirs.proj.bias.detach().numpy().copy())
    report = compare(model, other, ATTENTION)
    assert report.passed, to_text(report)
    assert report.weights.own
    assert {how for _, how in report.weights.pairs.values()} == {"name", "value"}


NATIVE = """
framework = "torch"
to = "flax"
rest = "keep"

[rules]
"blocks.{b}.qkv.weight" = "blocks.{b}.{query,key,value}.kernel : (3 o) i -> 3 i o"
"blocks.{b}.qkv.bias" = "blocks.{b}.{query,key,value}.bias : (3 o) -> 3 o"
"blocks.{b}.proj" = "blocks.{b}.proj"
"""


def test_rules_may_name_flax_arrays_and_axes(tmp_path):
    (tmp_path / "port.toml").write_text(NATIVE)
    rules = str(tmp_path / "port.toml")
    assert compare(models.Blocks, flax_blocks(models.FlaxSplit), ATTENTION, rules=rules).passed
    (tmp_path / "port.toml").write_text(NATIVE.replace("query,key", "key,query"))
    assert not compare(models.Blocks, flax_blocks(models.FlaxSplit), ATTENTION, rules=rules).passed
    (tmp_path / "port.toml").write_text(NATIVE.replace("query,key", "queer,key"))
    with pytest.raises(ParityError, match=r"the port has no blocks.0.queer.kernel"):
        compare(models.Blocks, flax_blocks(models.FlaxSplit), ATTENTION, rules=rules)


@pytest.mark.parametrize(("whole", "part", "count", "exact", "expected"), [
    ((36, 12), (12, 12), 3, True, ["(3 o) i -> 3 o i"]),
    ((36, 12), (12, 12), 3, False, ["(3 o) i -> 3 o i", "(3 o) i -> 3 i o"]),
    ((36, 10), (10, 3, 4), 3, False, ["(3 h d) i -> 3 i h d", "(h 3 d) i -> 3 i h d"]),
    ((8, 24), (8, 6), 4, False, ["i (4 o) -> 4 i o"]),
    ((36,), (3, 4), 3, False, ["(3 h d) -> 3 h d", "(h 3 d) -> 3 h d"]),
    ((10, 12), (3, 4, 10), 1, False, ["o (h d) -> h d o"]),
    ((12, 12), (12, 12), 1, False, []),
    ((36, 12), (12, 13), 3, False, []),
    ((), (), 3, False, []),
])  # fmt: skip
def test_layouts_follow_from_shapes(whole, part, count, exact, expected):
    found = layouts(whole, part, count, exact=exact)
    assert [f"{axes.whole} -> {axes.parts}" for axes in found] == expected


def test_arrays_that_may_pair_one_to_one_are_no_family():
    arrays = [
        {"a.weight": (24, 6), "b.weight": (6, 6), "c.weight": (6, 6)},
        {"p.weight": (24, 6), "q.weight": (6, 6), "k.weight": (6, 6), "v.weight": (6, 6), "g.weight": (6, 6)},
    ]
    original, other = ({key: np.zeros(shape) for key, shape in side.items()} for side in arrays)
    assert families(original, other, list(original), list(other)) == []
    found = families({"a.weight": np.zeros((18, 6))}, other, ["a.weight"], list(other))
    assert [family.sides for family in found] == [({"a.weight"}, {"q.weight", "k.weight", "v.weight"})]
